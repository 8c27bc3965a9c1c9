"""What is printed at the end of a run, and again from its raw figures."""

from pathlib import Path

from . import picture, tables, targets


def headline(about):
    cores = about["cores"]
    return [f"`{about['command']}`: " + ", ".join(f"{name} {version}" for name, version in about["versions"].items()) +
            f", {cores} core{'s' if cores != 1 else ''}, {about.get('congestion_control', 'unknown')} congestion control; {about['complete']} complete round{'s' if about['complete'] != 1 else ''} of "
            f"{about['seconds']:g} s for each measurement; median (lowest–highest) of the ratios of each round."] + (
        ["This was the short form: fewer workloads, candidates and rounds (tools/bench --help). It shows that everything "
         "works, and roughly where things are; it decides nothing."] if about["quick"] else [])


def failures(results):
    failed = results.failures()
    if not failed:
        return []
    lines = ["### Measurements without a result", ""]
    return ["\n".join(lines + [f"- {workload} by {candidate}: {why.strip().splitlines()[-1] if why.strip() else 'no word'}"
                               for workload, candidate, why in failed])]


def markdown(results):
    parts = headline(results.about)
    for title, text in [*tables.all_tables(results), ("Targets", targets.targets_table(results))]:
        parts += [f"### {title}", text]
    return "\n\n".join([*parts, *failures(results), f"Noise: {tables.noise(results)}."])


def write_picture(results, file):
    Path(file).write_text(picture.svg(results), encoding="utf-8")
