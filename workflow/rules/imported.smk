"""Responses that were made elsewhere: of whole experiments, where nothing is trained, and of policies beside our own."""


# Only for files that are not there, which it gets from the web; others are taken as they are, and never replaced.
rule fetch_responses:
    output:
        "{released}",
    log:
        f"{RESOURCES}/logs/fetch_responses/{{released}}.log",
    benchmark:
        f"{RESOURCES}/benchmarks/fetch_responses/{{released}}.tsv"
    wildcard_constraints:
        released=one_of(FETCHED),
    localrule: True  # nodes of a cluster may have no way to the web
    conda:
        "../../envs/analysis.yaml"
    params:
        code=code_digest("fetch_responses"),
        address=lambda wildcards: FETCHED[wildcards.released],
    shell:
        stage("fetch_responses") + "--address {params.address:q} --output {output:q}"


rule import_queries:
    input:
        lambda wildcards: response_file(settings_of(wildcards), BASE),
    output:
        in_experiment("queries/eval.jsonl"),
    log:
        in_experiment("logs/import_queries.log"),
    benchmark:
        in_experiment("benchmarks/import_queries.tsv")
    wildcard_constraints:
        experiment=IMPORTED,
    conda:
        "../../envs/analysis.yaml"
    resources:
        **needs("light"),
    params:
        code=code_digest("import_queries"),
        eval_count=lambda wildcards: settings_of(wildcards).queries.eval,
        task=lambda wildcards: settings_of(wildcards).task,
    shell:
        stage("import_queries") + "--released {input:q} --count {params.eval_count} --task {params.task:q} "
        "--output {output:q}"


rule import_responses:
    input:
        given=lambda wildcards: response_file(settings_of(wildcards), wildcards.policy),
        texts=texts_of_records,
        asked=where_trained(in_experiment("iteration-0/eval/responses.jsonl").format_map),
        queries=in_experiment("queries/eval.jsonl"),
        constitutions=evaluated_constitutions,
    output:
        in_experiment("{policy}/eval/responses.jsonl"),
    log:
        in_experiment("logs/import_responses-{policy}.log"),
    benchmark:
        in_experiment("benchmarks/import_responses-{policy}.tsv")
    wildcard_constraints:
        experiment=FROM_FILES,
    conda:
        "../../envs/analysis.yaml"
    resources:
        **needs("light"),
    params:
        code=code_digest("import_responses"),
        judged=lambda wildcards: settings_of(wildcards).evaluation.judged,
        asked=lambda wildcards, input: flag("asked", input.asked),
    shell:
        stage("import_responses") + "--given {input.given:q} --texts {input.texts:q} {params.asked} "
        "--queries {input.queries:q} --constitutions {input.constitutions:q} --judged {params.judged} "
        "--policy {wildcards.policy:q} --output {output:q}"
