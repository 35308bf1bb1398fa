"""Targets on the command line that nothing makes: one message, with what there is and the name that may be meant."""

from itertools import product

from snakemake.io import get_wildcard_names, is_flagged, strip_wildcard_constraints


def made(name):
    """Every file that an experiment or a comparison can have, by the patterns of the rules."""
    settings = SETTINGS.experiments.get(name)
    values = [{"experiment": name}]
    if settings:
        values += [{"experiment": name, "iteration": t} for t in range(settings.iterations + 1)]
        values += [{"experiment": name, "policy": policy} for policy in policies(settings)]
        values += [
            {"experiment": name, "policy": policy, "judge": judge, "comparator": comparator}
            for policy, judge, comparator in comparisons(settings)
        ]
    for maker, wildcards in product(workflow.rules, values):
        for pattern in maker.output:
            if get_wildcard_names(pattern) == wildcards.keys() and not is_flagged(pattern, "service"):
                path = strip_wildcard_constraints(pattern).format(**wildcards)
                if maker.is_producer(path):
                    yield path


def check_file(target):
    """Raises UserError where a path is none of those that the workflow makes."""
    # One of several jobs that share a file has a target of its own.
    path = layout.joined_file(target)
    owners = {name: f"{RESULTS}/{name}" for name in (*SETTINGS.experiments, *SETTINGS.groups)}
    owner = next((name for name, folder in owners.items() if path.startswith(f"{folder}/")), None)
    files, iterations = [*map(LAYOUT.model, SETTINGS.models), *DOWNLOADS, *(made(owner) if owner else [])], ""
    if owner in SETTINGS.experiments:
        settings = SETTINGS.experiments[owner]
        iterations = f"'iterations' is {settings.iterations}: {SETTINGS.where(owner, 'iterations')}"
    elif owner in SETTINGS.seeds:
        iterations = f"its runs have iterations, one a seed: {', '.join(SETTINGS.seeds[owner])}"
    targets.check_path(path, files, list(owners.values()), iterations)


def check_rule(target):
    """Raises UserError where a target stands for files of many experiments or iterations, of which one has to be named."""
    asked_for = workflow.get_rule(target)
    if asked_for.has_wildcards():
        pattern = strip_wildcard_constraints(asked_for.output[0])
        each = " and ".join(sorted(get_wildcard_names(pattern)))
        raise UserError(f"{target}: it makes a file for each {each}. Ask for one of them: {pattern}.")


def check_targets():
    """Raises UserError where there is nothing of the name of a target."""
    names = ["all", "figures", "plan", "screen", *SETTINGS.experiments, *SETTINGS.groups]
    limits = [*OPTIONS.forcerun, *OPTIONS.until, *OPTIONS.omit_from]  # of what runs
    for target in [*OPTIONS.targets, *limits]:
        if os.sep in target:
            check_file(target if os.path.isabs(target) else os.path.relpath(target))
        else:
            targets.check_name(target, names, RESULTS, others=[maker.name for maker in workflow.rules])
    for target in filter(workflow.is_rule, OPTIONS.targets):
        check_rule(target)


if MAIN_PROCESS and not PLANNED:
    with one_message():
        check_targets()
