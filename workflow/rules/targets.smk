"""Targets on the command line that no rule makes: one message, with what there is and the name that may be meant."""

from itertools import product

from snakemake.io import get_wildcard_names, is_flagged, strip_wildcard_constraints


def made(name):
    """Every file that an experiment or a comparison can have, by the patterns of the rules."""
    settings = SETTINGS.experiments.get(name)
    values = [{"experiment": name}]
    if settings:
        values += [{"experiment": name, "iteration": t} for t in range(settings.iterations + 1)]
        values += [{"experiment": name, "policy": policy} for policy in settings.policies()]
        values += [
            {"experiment": name, "policy": policy, "judge": judge, "comparator": comparator}
            for policy, judge, comparator in settings.comparisons()
        ]
    for maker, wildcards in product(workflow.rules, values):
        for pattern in maker.output:
            if get_wildcard_names(pattern) == wildcards.keys() and not is_flagged(pattern, "service"):
                path = strip_wildcard_constraints(pattern).format(**wildcards)
                if maker.is_producer(path):
                    yield path


def check_path(target):
    """Ends the run where a path is none of those that the workflow makes."""
    # One of several jobs that share a file has a target of its own.
    path = re.sub(r"/responses/shard-\d+-of-\d+\.jsonl$", "/responses.jsonl", target)
    names = [*SETTINGS.experiments, *SETTINGS.root.compare]
    owner = next((name for name in names if path.startswith(f"{RESULTS}/{name}/")), None)
    paths = [*(f"{RESULTS}/{name}" for name in names), *map(prepared, SETTINGS.models), *FETCHED]
    paths += made(owner) if owner else []
    if path in paths[len(names) :]:
        return
    known = [Path(other).parts for other in paths]
    parts = Path(path).parts
    for depth, part in enumerate(parts):
        there = [found for found in known if found[:depth] == parts[:depth] and len(found) > depth]
        choices = sorted({found[depth] for found in there})
        if part not in choices:
            folder = os.path.join("", *parts[:depth]) or "this folder"
            if not choices:
                refuse(f"{target}: found a path inside {folder}, which is a single result. Ask for {folder}.")
            near = nearest(part, choices)
            meant = f" Did you mean '{os.path.join(*parts[:depth], near, *parts[depth + 1 :])}'?" if near else ""
            iterations = ""
            if owner and re.fullmatch(r"iteration-\d+", part):
                where = SETTINGS.where(owner, "iterations")
                iterations = f" ('iterations' is {SETTINGS.experiments[owner].iterations}: {where})"
            refuse(f"{target}: found '{part}' in {folder}, expected one of: {listed(choices)}{iterations}.{meant}")
    inside = [os.path.join(*found) for found in known if found[: len(parts)] == parts and found != parts]
    inside = inside or [f"{path}/..., or all by the name {parts[-1]}"]  # the folder of an experiment
    refuse(f"{target}: this is a folder of several results. Ask for one of them: {listed(inside)}.")


def check_rule(target):
    """Ends the run where a rule makes files of many experiments or iterations, of which one has to be named."""
    asked_for = workflow.get_rule(target)
    if asked_for.has_wildcards():
        pattern = strip_wildcard_constraints(asked_for.output[0])
        each = " and ".join(sorted(get_wildcard_names(pattern)))
        refuse(f"{target}: this rule makes a file for each {each}. Ask for one of them: {pattern}.")


def check_targets():
    """Ends the run where there is nothing of the name of a target."""
    limits = [*OPTIONS.forcerun, *OPTIONS.until, *OPTIONS.omit_from]  # of what runs
    for target in [*OPTIONS.targets, *limits]:
        if workflow.is_rule(target):
            if target not in limits:
                check_rule(target)
        elif os.sep in target:
            check_path(target if os.path.isabs(target) else os.path.relpath(target))
        else:
            names = ["all", "figures", "plan", *SETTINGS.experiments, *SETTINGS.root.compare]
            rules = [maker.name for maker in workflow.rules]
            near = nearest(target, [*names, *rules])
            meant = f" Did you mean '{near}'?" if near else ""
            refuse(
                f"{target}: found no target of this name, expected one of: {listed(names)}; or the path of a file in "
                f"{RESULTS}.{meant}"
            )


if MAIN_PROCESS and not PLANNED:
    check_targets()
