# bash completion for millrace. Commands and options come from the program's own --help, so that they are those of the
# version that is installed.

_millrace_words() { # of "Subcommands:" or "Options:" in the help of the words that follow
  local section="$1"
  shift
  "$@" --help 2>/dev/null | awk -v section="$section:" '
    /^[A-Z].*:$/ { inside = $0 == section; next }
    inside && /^  [^ ]/ { count = split($1, names, ","); for (i = 1; i <= count; ++i) print names[i] }'
}

_millrace() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD - 1]}" program="${COMP_WORDS[0]}"
  local command="" words i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "${COMP_WORDS[i]}" in
      -*) ;;
      *)
        command="${COMP_WORDS[i]}"
        break
        ;;
    esac
  done

  case "$previous" in
    -c | --config | --socket)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
    --balance) words="least_conn source_hash round_robin random_two first" ;;
    --listen | --backend) return ;;
    *)
      if [[ -z "$command" ]]; then
        words="$(_millrace_words Subcommands "$program") $(_millrace_words Options "$program")"
      elif [[ "$current" == -* ]]; then
        words="$(_millrace_words Options "$program" "$command")"
      elif [[ "$command" == import && "$previous" == import ]]; then
        words="haproxy nginx gobetween"
      elif [[ "$command" == import ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
      else
        words="$(_millrace_words Subcommands "$program" "$command")"
      fi
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _millrace millrace
