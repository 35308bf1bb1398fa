"""Catalogue of tables: the columns, print and caption of each, once.

Rules, stages, printed files, the page of an experiment and Snakemake's report read this list. It imports nothing, so
that the workflow can read it; `sami.analysis.tables.build` calls the functions. To add a table, write a function that
returns rows and an entry here. What the columns mean is told in docs/statistics.md.
"""

from dataclasses import dataclass
from typing import Literal

STEMS = {"win_rate": "win", "lc_win_rate": "lc", "bound_nats": "bound"}  # of an interval, where it is not the name
P_VALUES = ("p", "p_holm")
FORMATS = {
    "learning_rate": ".3e",
    "kl": ".3e",
    "cost": ".6f",
    "mean": ".12g",
    **dict.fromkeys(P_VALUES, ".3g"),
}  # others: 4 decimals
WHOLE = ("iteration", "queries_needed", "shared_pairs")  # numbers that stay whole beside empty cells
MEASURED = (  # not printed where no policy was scored, no relevance was measured, and no principle has a check
    "bound_nats", "row_accuracy", "column_accuracy", "base_log_probability", "own_log_probability",
    "relevant_win_rate", "unidentified_wins", "identified", "margin", "log_probability", "degree", "held_out_degree",
)  # fmt: skip
HEADINGS = {  # in print; others are their names
    "bound_nats": "bound (nats)",
    "max_bound": "log C",
    "lc_win_rate": "at equal length",
    "n_queries": "queries",
    "n_verdicts": "verdicts",
    "n_responses": "responses",
    "n_seeds": "seeds",
    "p_holm": "p (Holm)",
    "base_log_probability": "log-probability, base",
    "own_log_probability": "log-probability, own",
    "log_probability": "log-probability",
    "relevant_win_rate": "if identified",
}


def span(*names: str) -> tuple[str, ...]:
    """Columns of estimates with their intervals: each name, and its stem with _low and _high."""
    return tuple(column for name in names for column in (name, *ends(name)))


def ends(name: str) -> tuple[str, str]:
    """Columns of an interval, or of a range, alone."""
    stem = STEMS.get(name, name)
    return f"{stem}_low", f"{stem}_high"


@dataclass(frozen=True)
class Table:
    """A table of an experiment, of a comparison of several, or of runs with several seeds.

    Attributes:
        function: module and name in `sami.analysis.tables`. It takes a run, under the principles of training alone
            unless the table has a column `principles`, and the tables in `tables`, and returns rows: dictionaries.
        columns: in the order of the CSV file.
        caption: on the page; two backquotes mark code.
        printed: columns in Markdown and LaTeX, an interval or a range by its name; none where the table is CSV alone.
        tables: names of the tables it is made of.
        open: whether columns that the rows have besides follow.
        of: what has this table: every experiment, or those whose policies are steered, whose principles are screened or
            that have judges by identification, comparisons of experiments with one seed or with several, or experiments
            with several seeds; the function of these takes what is steered, screened, told, compared or joined, and an
            estimator where it estimates.
        reported: whether Snakemake's report shows it.
    """

    name: str
    function: str
    columns: tuple[str, ...]
    caption: str
    printed: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    open: bool = False
    of: Literal["experiment", "steering", "labels", "screening", "identification", "comparison", "methods", "seeds"] = (
        "experiment"
    )
    reported: bool = False

    @property
    def files(self) -> list[str]:
        """Names of its files: CSV for programs, and Markdown and LaTeX for people."""
        return [f"{self.name}.{kind}" for kind in (("csv", "md", "tex") if self.printed else ("csv",))]

    @property
    def reported_file(self) -> str | None:
        """The one of its files that Snakemake's report shows."""
        return self.files[0] if self.reported else None

    @property
    def caption_file(self) -> str:
        """Name of the file of its caption, in workflow/report."""
        return f"tables/{self.name}.rst"


POLICY = ("policy", "iteration")
JUDGED = ("policy", "comparator", "judge")
VERDICTS = (*POLICY, *JUDGED[1:])
TESTED = ("n_queries", "n_verdicts")
COUNTED = ("n_queries", "n_responses")
PUBLISHED = ends("published")
RELEVANCE = ("identified", "margin", "bound_nats", "log_probability")
OF_SUMMARY = ("identified", "margin", "log_probability")  # of relevance, under the queries alone
ECHO = ("echo", "echo_words", "echo_bigrams", "about_instruction")
# What is joined over seeds, each with its values in `tables.measures`.
JOINED = ("bound_nats", "row_accuracy", "column_accuracy", "win_rate", "relevant_win_rate", "unidentified_wins",
          *OF_SUMMARY, "echo", "degree", "held_out_degree", "response_tokens", "response_words", "degenerate_share",
          "repeated_share", "base_log_probability", "own_log_probability",
          *(f"{name}_difference" for name in (*OF_SUMMARY, "echo")))  # fmt: skip
DEGENERATION = ("degenerate_share", "repeated_share", "base_log_probability", "own_log_probability")

COMPARED = ("win_rates", "information", "degeneration", "relevance", "echo")  # what comparisons read of experiments

# Of an arm of a comparison of methods, beside its win rates.
OF_ARMS = ("degree", "held_out_degree", *OF_SUMMARY, "echo", "degenerate_share", "response_words")
_COST = ("sampled_tokens", "scored_tokens", "trained_tokens", "forward_tokens", "minutes")
_ARMS = ("arm", "method", *JUDGED, "other_judge", "other_comparator",
         *span("win_rate", "other_judge_rate", "other_comparator_rate"), "lc_win_rate", *span("difference"), "p",
         "p_holm", *span(*OF_ARMS), *_COST, "n_seeds", "n_queries", "split")  # fmt: skip
_PRINTED_ARMS = ("arm", "win_rate", "other_judge_rate", "other_comparator_rate", "lc_win_rate", "difference", "p_holm",
                 *OF_ARMS, "forward_tokens", "minutes", "n_seeds", "n_queries", "split")  # fmt: skip
_OF_ARMS = (
    "One row an arm: the last policy of an experiment, or one that was not trained. ``win_rate`` is by the first judge "
    "against the first comparator, ``other_judge_rate`` by the second judge, ``other_comparator_rate`` against the "
    "second comparator. ``difference`` is the win rate less that of the first arm, query by query; ``p`` is of no "
    "difference, by flips of sign over queries for these seeds, and ``p_holm`` is corrected for the number of "
    "differences in the table. ``degree`` is how far responses follow their constitutions by the checks that rewards "
    "and labels are made of, ``held_out_degree`` by those that nothing is made of. ``forward_tokens`` is the budget of "
    "the whole making of a policy: tokens sampled, scored, and three times those trained on; ``minutes`` those of the "
    "stages that ran a model. Means over seeds, with intervals over seeds and queries together."
)

_ALL = (
    Table(
        "summary",
        "policies.summary",
        ("iteration", *span("bound_nats"), "row_accuracy", "column_accuracy", *span("win_rate"), "response_tokens",
         "degenerate_share", "n_queries", "policy", "lc_win_rate", *span("relevant_win_rate", *OF_SUMMARY, "echo"),
         "split"),
        "One row a policy; iteration 0 is the base model, and models that were not trained here have no iteration. The "
        "bound is the lower bound on the mutual information of a policy's own held-out responses and their "
        "constitutions, in nats; the win rate is the mean preference for its responses by the first judge against the "
        "first comparator, a tie counting half (the comparator has none); ``lc_win_rate`` in the file is that at equal "
        "length. ``split`` tells where in the task the held-out queries come from, ``eval`` or ``test``. Intervals are "
        "over queries. Read the win rate beside the mean number of tokens, since judges may "
        "favour length, and beside the share of degenerate responses, since a high bound can also be reached by "
        "gibberish. A response is identified where it is likelier under its own query than under each of some others, "
        "by one model for all policies and without any constitution; ``margin`` is by how much, and "
        "``log_probability`` how likely it is there, both in nats per token. ``relevant_win_rate`` is the win rate on "
        "identified responses alone. ``echo`` is the share of its constitution that a response repeats, beyond that of "
        "the other constitutions of its set: read it beside the base model's.",
        printed=("policy", "bound_nats", "row_accuracy", "column_accuracy", "win_rate", "relevant_win_rate",
                 "lc_win_rate", *OF_SUMMARY, "echo", "response_tokens", "degenerate_share", "n_queries", "split"),
        tables=("information", "win_rates", "degeneration", "relevance", "echo"),
        reported=True,
    ),
    Table(
        "win_rates",
        "verdicts.win_rates",
        (*VERDICTS, "wins", "ties", "losses", "invalid", *span("win_rate"), "standard_error",
         "win_rate_without_invalid", *span("lc_win_rate", "relevant_win_rate"), "unidentified_wins",
         "position_consistency", "first_shown_share", "mean_words", "comparator_mean_words", "p", "p_holm",
         "queries_needed", "invalid_answers", "input_tokens", "output_tokens", "cost", *TESTED, *PUBLISHED),
        "Each policy against each comparator by each judge, and what tells how far to trust it.",
        printed=(*JUDGED, "win_rate", "relevant_win_rate", "unidentified_wins", "lc_win_rate", "published",
                 "mean_words", "comparator_mean_words", "p_holm", "n_queries"),
    ),
    Table(
        "comparisons",
        "verdicts.comparisons",
        ("policy", "other_policy", *JUDGED[1:], *span("difference"), "p", "p_holm", *TESTED),
        "Differences in win rate between policies on the same pairs.",
        printed=("policy", "other_policy", *JUDGED[1:], "difference", "p_holm", "n_queries"),
    ),
    Table(
        "win_rates_by_principle",
        "subsets.win_rates_by_principle",
        (*VERDICTS, "principle", "polarity", *span("win_rate"), "p", "p_holm", "queries_needed", *TESTED, "principles"),
        "The last trained policy under constitutions that hold each principle or its opposite.",
        printed=(*JUDGED, "principles", "principle", "polarity", "win_rate", "p_holm", "n_queries", "queries_needed"),
    ),
    Table(
        "generalisation",
        "subsets.generalisation",
        (*VERDICTS, "principles", *span("win_rate", "difference"), "cost", *TESTED, *PUBLISHED),
        "Win rates under the principles of training and under held-out ones; difference: training minus held-out.",
        printed=(*JUDGED, "principles", "win_rate", "published", "difference", "n_queries"),
    ),
    Table(
        "win_rates_by_length",
        "subsets.win_rates_by_length",
        (*VERDICTS, "third", *ends("words"), *span("win_rate"), *TESTED),
        "Win rates on the shortest, middle and longest third of the queries.",
        printed=(*JUDGED, "third", "words", "win_rate", "n_queries"),
    ),
    Table(
        "agreement",
        "verdicts.agreement",
        (*JUDGED, "other_judge", "measure", "agreement", *span("kappa"), *TESTED),
        "How far judges agree.",
        printed=(*JUDGED, "other_judge", "agreement", "kappa", "n_verdicts"),
    ),
    Table(
        "length_bias",
        "verdicts.length_bias",
        (*VERDICTS, "bin", *ends("difference"), "standardised", *span("preference"), "intercept", "coefficient",
         "scale", "n_verdicts"),
        "How far verdicts follow the length of responses.",
    ),
    Table(
        "information",
        "policies.information",
        (*POLICY, "responses", *span("bound_nats"), "max_bound",
         *span("row_loss", "column_loss", "row_accuracy", "column_accuracy", "difference"), "n_queries", "n_matrices",
         "principles"),
        "Bound on the mutual information, losses and accuracies.",
        printed=("policy", "principles", "responses", "bound_nats", "max_bound", "row_accuracy", "column_accuracy",
                 "difference", "n_queries"),
    ),
    Table(
        "adherence",
        "policies.adherence",
        (*POLICY, "principle", "polarity", *span("degree"), "n_responses", "principles"),
        "Degree of following each principle, by programmatic checks.",
        printed=("policy", "principles", "principle", "polarity", "degree", "n_responses"),
    ),
    Table(
        "lengths",
        "policies.lengths",
        (*POLICY, "polarity", *span("mean_tokens", "median_tokens", "mean_words", "median_words"), "n_responses"),
        "Length of responses in tokens and words.",
        printed=("policy", "polarity", "mean_tokens", "mean_words", "n_responses"),
    ),
    Table(
        "degeneration",
        "policies.degeneration",
        (*POLICY, *span(*DEGENERATION), "n_responses"),
        "Repetition, and log-probabilities per token.",
        printed=("policy", *DEGENERATION, "n_responses"),
    ),
    Table(
        "relevance",
        "relevance.relevance",
        (*POLICY, "context", *span(*RELEVANCE, *(f"{name}_difference" for name in RELEVANCE)), "max_bound",
         *COUNTED),
        "Whether responses belong to their queries: under the queries alone, and with their constitutions. "
        "Differences are to the base model's responses.",
        printed=("policy", "context", *RELEVANCE, "identified_difference", "margin_difference",
                 "log_probability_difference", "n_queries"),
    ),
    Table(
        "relevance_by_length",
        "relevance.relevance_by_length",
        (*POLICY, "context", "bin", *ends("tokens"), *span("identified", "margin", "margin_difference"), *COUNTED),
        "Relevance of responses of about one length; ``margin_difference`` is to the base model's of this length.",
        printed=("policy", "context", "tokens", "identified", "margin", "margin_difference", "n_responses"),
    ),
    Table(
        "echo",
        "relevance.echo",
        (*POLICY, *span(*ECHO, "echo_difference", "about_instruction_difference"), *COUNTED),
        "How far responses repeat their constitutions, and how many talk about their instruction. Differences are to "
        "the base model's responses.",
        printed=("policy", *ECHO, "echo_difference", "n_responses"),
    ),
    Table(
        "measures",
        "measures.measures",
        (*POLICY, "measure", *JUDGED[1:], "query_id", "n", "mean"),
        "Each measure of each policy, query by query: the mean of the ``n`` values that it has there.",
    ),
    Table(
        "training",
        "policies.training",
        (*POLICY, "step", "loss"),
        "Every optimiser step.",
        open=True,
    ),
    Table(
        "samples",
        "policies.samples",
        ("query_id", "constitution_id", "query", "constitution"),
        "Responses of all policies to a few queries.",
        open=True,
    ),
    Table(
        "steering",
        "steering.steering",
        (*POLICY, "attribute", "value", "wanted", *span("degree"), *COUNTED),
        "Steering: mean degree of an attribute in responses that were asked for each of its values. ``wanted`` is the "
        "degree that the value stands for.",
        printed=("policy", "attribute", "value", "degree", "n_queries"),
        of="steering",
    ),
    Table(
        "steering_summary",
        "steering.steering_summary",
        (*POLICY, "attribute", "measured", *span("correlation", "difference"), *COUNTED),
        "Steering: each attribute that was asked for against each that was measured. ``correlation`` is the rank "
        "correlation (Spearman) of values asked for and degrees measured, empty where all degrees are equal; "
        "``difference`` is the mean degree where the highest value was asked for less that where the lowest was, "
        "paired by query. Where both attributes are one it should be high; elsewhere it is leakage: what one asks for "
        "drags along. Intervals are over queries.",
        printed=("policy", "attribute", "measured", "correlation", "difference", "n_queries"),
        of="steering",
        reported=True,
    ),
    Table(
        "identification",
        "identification.identification",
        (*POLICY, "judge", *span("recognised", "recognised_margin", "recognised_difference", "margin_difference"),
         *COUNTED),
        "Identification by another model than the policy, the judge's: ``recognised`` is the share of responses whose "
        "own constitution is the likeliest of its set (by chance 1/C), ``recognised_margin`` how much likelier it is "
        "than the next, in nats per token. The differences are to the base model's responses, paired by query. "
        "Intervals are over queries.",
        printed=("policy", "judge", "recognised", "recognised_margin", "recognised_difference", "n_queries"),
        of="identification",
        reported=True,
    ),
    Table(
        "candidates",
        "screening.candidates",
        ("pair", *span("bound_nats"), "principle_recognised", "opposite_recognised", "n_queries", "queries_needed",
         "fate", "reword", "overlap", "like", "principle", "opposite"),
        "Screening: what the base model hears of each pair, the kept ones first. The bound is that on I(Y; C | x) "
        "between the principle and its opposite, on the screening queries; ``recognised`` are the shares of responses "
        "under either side that the model finds more likely under it than under the other. ``queries_needed`` is how "
        "many queries the interval would need to lie above 0, empty where the bound is below it; ``reword`` is the "
        "side of a pair that is not heard to which fewer responses are recognised. ``overlap`` is the largest share of "
        "the bound of a kept pair, ``like``, that the constitutions of a pair explain.",
        printed=("pair", "principle", "opposite", "bound_nats", "principle_recognised", "opposite_recognised",
                 "queries_needed", "overlap", "like", "fate", "reword"),
        of="screening",
        reported=True,
    ),
    Table(
        "label_agreement",
        "labels.label_agreement",
        ("attribute", *span("exact"), "usual", *span("correlation"), *COUNTED),
        "Labels that the attribute model predicts against those by the checks, on responses of iteration 1 to queries "
        "from which it has not learned. ``exact`` is the share of responses with the same value, ``usual`` that of the "
        "commonest value by the checks, ``correlation`` the rank correlation (Spearman) of both, empty where all "
        "values of a side are equal. Intervals are over queries.",
        printed=("attribute", "exact", "usual", "correlation", "n_queries"),
        of="labels",
        reported=True,
    ),
    Table(
        "comparison",
        "comparison.comparison",
        ("experiment", *VERDICTS, *span("win_rate", "lc_win_rate"), *PUBLISHED, *span("bound_nats"), "mean_words",
         "comparator_mean_words", *span("degenerate_share", "difference"), "p", "p_holm", "shared_pairs", *TESTED,
         *span("relevant_win_rate", *OF_SUMMARY, "echo")),
        "Several experiments side by side: their last trained policies, and other models beside them, against each "
        "comparator, by the first judge of each. ``difference`` is the win rate minus that of the first experiment, on "
        "the pairs that both were judged on by the same judge (same query, same constitution, ``shared_pairs`` of "
        "them); ``p`` is of no difference, and ``p_holm`` is corrected for the number of differences in the table. "
        "``published_low`` and ``published_high`` are published win rates, ``_low`` and ``_high`` otherwise intervals "
        "over queries.",
        printed=("experiment", *JUDGED, "win_rate", "relevant_win_rate", "lc_win_rate", "published", "bound_nats",
                 *OF_SUMMARY, "echo", "mean_words", "degenerate_share", "difference", "p_holm", "n_queries"),
        of="comparison",
        reported=True,
    ),
    Table(
        "frontier",
        "comparison.frontier",
        ("experiment", *VERDICTS, *span("win_rate", "relevant_win_rate", *OF_SUMMARY, "echo")),
        "All policies of several experiments: win rates by each experiment's first judge against its first comparator, "
        "which has none itself, beside relevance and echo.",
        printed=("experiment", *JUDGED, "win_rate", "relevant_win_rate", *OF_SUMMARY, "echo"),
        of="comparison",
    ),
    Table(
        "steerability",
        "methods.steerability",
        _ARMS,
        "Methods side by side, told what is wanted: the constitution, or values of attributes, are in the prompt, and "
        "both polarities are judged. " + _OF_ARMS,
        printed=_PRINTED_ARMS,
        of="methods",
        reported=True,
    ),
    Table(
        "internalising",
        "methods.internalising",
        _ARMS,
        "Methods side by side, asked the query alone: does a policy do unasked what is wanted? " + _OF_ARMS,
        printed=_PRINTED_ARMS,
        of="methods",
        reported=True,
    ),
    Table(
        "joined",
        "seeds.joined",
        (*POLICY, *span(*JOINED), "n_seeds", "n_queries", "split"),
        "Runs that differ in their seed alone, joined: one row a policy, with the mean over seeds of each number that "
        "the table ``seeds`` has, and an interval over seeds and queries together (a pigeonhole bootstrap). "
        "Differences are to the base model, response by response. With a few seeds the spread between them is known "
        "poorly: read the rows of ``seeds`` beside it.",
        printed=("policy", *JOINED, "n_seeds", "n_queries", "split"),
        of="seeds",
        reported=True,
    ),
    Table(
        "seeds",
        "seeds.seeds",
        ("seed", *POLICY, *JOINED, "n_queries", "split"),
        "Runs that differ in their seed alone, side by side: one row a seed and policy. The win rate is that by the "
        "first judge against the first comparator.",
        printed=("seed", "policy", *JOINED, "n_queries", "split"),
        of="seeds",
    ),
)  # fmt: skip
TABLES = {table.name: table for table in _ALL}


def tables(of: str = "experiment") -> list[Table]:
    """The tables of an experiment, or of what else has tables (see `Table.of`), in the order of the page."""
    return [table for table in TABLES.values() if table.of == of]


def files(of: str = "experiment") -> list[str]:
    """Names of the files of all tables of an experiment, or of what else has tables."""
    return [file for table in tables(of) for file in table.files]
