# shellcheck shell=bash
# What the tools share; sourced by them, with bash. Sets ROOT and PYTHON; messages go to stdout, so that they stay in
# order with the output of the programs that run.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# The distribution's Python has the distribution's pytest; the first python3 on PATH may be another one.
PYTHON=/usr/bin/python3
[ -x "$PYTHON" ] || PYTHON="$(command -v python3 || true)"
export PYTHONDONTWRITEBYTECODE=1
# Nothing here may ever wait for a person.
export GIT_TERMINAL_PROMPT=0 NINJA_STATUS='[%f/%t] '

say() { printf '%s\n' "== $*"; }

# Prints the comment at the head of a script, which is its manual.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$1"; }

seconds_since() { printf '%d' "$(($(date +%s) - $1))"; }

# meson_setup DIR [OPTION…]: a build directory that is ready to build; sets one up when there is none.
meson_setup() {
  local dir="$1"
  shift
  if [ -f "$dir/build.ninja" ]; then
    return 0
  fi
  (cd "$ROOT" && meson setup "$dir" "$@")
}

# Prints what to put before a command that should run without address space randomisation, or nothing where that is not
# allowed: the sanitizers of older compilers do not start when the kernel randomises more bits than they know of.
without_aslr() {
  if setarch "$(uname -m)" -R true 2>/dev/null; then
    echo "setarch $(uname -m) -R"
  fi
}
