"""Responses that were made elsewhere: of whole experiments, where nothing is trained, and of policies beside our own."""


# Only for files that are not there, which it gets from the web; others are taken as they are, and never replaced.
rule fetch_responses:
    output:
        "{released}",
    log:
        LAYOUT.shared(layout.log("fetch_responses")),
    benchmark:
        LAYOUT.shared(layout.benchmark("fetch_responses"))
    wildcard_constraints:
        released=one_of(DOWNLOADS),
    localrule: True  # nodes of a cluster may have no way to the web
    conda:
        "../../envs/analysis.yaml"
    params:
        code=code_digest("fetch_responses"),
        address=lambda wildcards: DOWNLOADS[wildcards.released],
    shell:
        stage("fetch_responses") + "--address {params.address:q} --output {output:q}"


rule import_queries:
    input:
        by_wildcards(INPUTS.base_response_file),
    output:
        in_experiment(layout.EVAL_QUERIES),
    log:
        in_experiment(layout.log("import_queries")),
    benchmark:
        in_experiment(layout.benchmark("import_queries"))
    wildcard_constraints:
        experiment=EXTERNAL,
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("import_queries"),
        eval_count=lambda wildcards: settings_of(wildcards).queries.eval,
        task=lambda wildcards: settings_of(wildcards).task,
    shell:
        stage("import_queries") + "--released {input:q} --count {params.eval_count} --task {params.task:q} "
        "--output {output:q}"


rule import_responses:
    input:
        given=by_wildcards(INPUTS.response_file),
        texts=by_wildcards(INPUTS.texts_of_records),
        asked=by_wildcards(INPUTS.own_base_responses),
        queries=by_wildcards(INPUTS.held_out_queries),
        constitutions=by_wildcards(INPUTS.constitutions),
    output:
        in_experiment(layout.EVAL_RESPONSES),
    log:
        in_experiment(layout.log("import_responses")),
    benchmark:
        in_experiment(layout.benchmark("import_responses"))
    wildcard_constraints:
        experiment=before({name: f"(?:{one_of(response_files(e))})/" for name, e in SETTINGS.experiments.items()}),
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("import_responses"),
        judged=lambda wildcards: settings_of(wildcards).evaluation.judged,
        asked=lambda wildcards, input: flag("asked", input.asked),
    shell:
        stage("import_responses") + "--given {input.given:q} --texts {input.texts:q} {params.asked} "
        "--queries {input.queries:q} --constitutions {input.constitutions:q} --judged {params.judged} "
        "--policy {wildcards.policy:q} --output {output:q}"
