"""Catalogue of figures: the tables, the experiments and the caption of each, once.

Rules, stages, the page of an experiment and Snakemake's report read this list. It imports nothing, so that the workflow
can read it; `sami.analysis.figures.draw` calls the functions. To add a figure, write a function from tables and a title
to a figure, and an entry here; then `python -m sami.analysis.captions` writes its caption for Snakemake's report.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """A figure of an experiment, of a comparison of several, or of runs with several seeds.

    Attributes:
        function: module and name in `sami.analysis.figures`; it takes the tables and a title.
        tables: names of the tables it shows.
        caption: on the page and in Snakemake's report; two backquotes mark code.
        of: what has this figure: every experiment, those that train, those whose policies are scored, those with
            held-out principles, those whose policies are steered or whose principles are screened, comparisons of
            experiments with one seed or with several, or experiments with several seeds.
    """

    name: str
    function: str
    tables: tuple[str, ...]
    caption: str
    of: Literal[
        "every", "training", "scored", "held-out", "steering", "screening", "comparison", "methods", "seeds"
    ] = "every"

    @property
    def files(self) -> list[str]:
        """Names of its files: for print, and for the screen."""
        return [f"{self.name}.{kind}" for kind in ("pdf", "png")]

    @property
    def reported_file(self) -> str:
        """The one of its files that Snakemake's report shows."""
        return f"{self.name}.png"

    @property
    def caption_file(self) -> str:
        """Name of the file of its caption, in workflow/report."""
        return f"figures/{self.name}.rst"


_ALL = (
    Figure(
        "win_rate",
        "win_rates.win_rate",
        ("win_rates",),
        "Win rate on held-out queries by iteration, one panel for each comparator and one line for each judge: the "
        "mean preference for a policy's response, a tie or an invalid verdict counting half. Models that were not "
        "trained here stand to the right under their names. The dotted line at 50% is where a policy is no better than "
        "the comparator; the hollow point is the comparator itself, which is not judged. The grey box (a range) or "
        "line (a number) is what was published, where ``evaluation.published`` gives it. Bars are intervals over "
        "queries: an interval that lies above the line is evidence that responses follow their constitutions better "
        "than the comparator's.",
    ),
    Figure(
        "relevance",
        "relevance.relevance",
        ("relevance", "win_rates"),
        "Whether responses that win still answer their queries. Across: the win rate by the first judge against the "
        "first comparator. Up, left: by how much a response is likelier under its own query than under the likeliest "
        "of some others, per token; right: the share of responses whose own query is the likeliest of all. One model "
        "tells it for all policies, of the response and the query alone. Points are policies, numbers iterations, and "
        "a line joins these; the hollow point is the comparator, which is not judged against itself. Dotted lines are "
        "a win rate of one half and the base model's relevance; the shaded corner is where one wants to be. A policy "
        "that moves to the right and down wins by writing what belongs less to its query. Short responses have larger "
        "margins: the table ``relevance_by_length`` compares within a length. Bars are intervals over queries.",
    ),
    Figure(
        "bound",
        "policies.bound",
        ("information",),
        "Left: lower bound (InfoNCE) on the mutual information between responses and constitutions, in nats per query, "
        "measured on a policy's own held-out responses and on the base model's. The dotted line, log C for C "
        "constitutions, is the largest value the bound can take. A rise on own responses alone means that the policy "
        "writes responses that are easier to tell apart; a rise on the base model's responses means that it also reads "
        "constitutions better. Right: accuracies on own responses: how often a constitution makes the response written "
        "for it the most likely one (row), and how often a response is most likely under its own constitution "
        "(column). Bars are intervals over queries.",
        of="scored",
    ),
    Figure(
        "length",
        "policies.length",
        ("lengths",),
        "Mean length of held-out responses in tokens (in words where responses were imported), apart for the "
        "constitutions that want every principle and for those that negate some or all. Training tends to lengthen "
        "responses unless a principle asks for brevity, so a win rate should be read beside this figure. Bars are "
        "intervals over queries.",
    ),
    Figure(
        "win_rate_by_principle",
        "verdicts.win_rate_by_principle",
        ("win_rates_by_principle",),
        "Win rate of the last trained policy under the constitutions that want a principle, under those that want its "
        "opposite, and under both together; a constitution of several statements counts for each of them. By the first "
        "judge, against the first comparator. Bars are intervals over queries. To the right of a principle stand the "
        "number of its queries and how many would be needed for an interval of the width ``evaluation.wanted_width``. "
        "Where both polarities win, responses follow the principle; where one wins what the other loses, they have "
        "only moved to one side, whatever they were asked for. The table ``win_rates_by_principle`` has a p-value for "
        "each principle, corrected for their number.",
    ),
    Figure(
        "generalisation",
        "win_rates.generalisation",
        ("generalisation",),
        "Win rate of each policy under the principles that it was trained on, and under held-out ones that training "
        "never saw, on the same held-out queries, by the first judge; a panel for each comparator. Bars are intervals "
        "over queries; a band is what others have published.",
        of="held-out",
    ),
    Figure(
        "length_controlled",
        "win_rates.length_controlled",
        ("win_rates",),
        "Win rates as judged, and those that a fit predicts for responses of equal length (arXiv 2404.04475), by "
        "policy; one panel for each comparator, by the first judge. Where the two part, part of the win rate goes with "
        "length. Where a principle asks for brevity or detail, length is what is rightly judged, and the rate as "
        "judged is the one to read. The grey box or line is the published win rate, where one is given. Bars are "
        "intervals over queries.",
    ),
    Figure(
        "length_bias",
        "verdicts.length_bias",
        ("length_bias",),
        "Mean preference for the last trained policy by how much longer its response is than the comparator's, in bins "
        "of equally many verdicts, with the logistic fit of all verdicts. A curve that rises says that the judge "
        "prefers long responses, or that long responses are better; verdicts alone cannot tell which. By the first "
        "judge, against the first comparator. Bars are intervals over queries.",
    ),
    Figure(
        "adherence",
        "policies.adherence",
        ("adherence",),
        "How far responses follow each principle when their constitution wants it (left), and its opposite when their "
        "constitution wants that (right), for the base model, the last iteration, and the models that were not trained "
        "here. Where only responses for wanted principles were drawn or imported, there is one panel. The degree runs "
        "from 0 to 1 and comes from programmatic checks of the text, so it covers the principles that have one. Points "
        "further right are better in both panels; bars are intervals over queries.",
    ),
    Figure(
        "training",
        "training.training",
        ("training",),
        "The loss, the other metrics of the objective, and the gradient norm at every optimiser step, one line an "
        "iteration; the divergence from the reference model is shown where it is part of the objective. Of SAMI, row "
        "accuracy is the share of constitutions whose most likely response was written for them, column accuracy the "
        "share of responses that are most likely under their own constitution. The values are those of single steps on "
        "training queries and have no interval; held-out values with intervals are in the figure of the bound.",
        of="training",
    ),
    Figure(
        "degeneration",
        "policies.degeneration",
        ("degeneration",),
        "Left: share of held-out responses that repeat themselves, by the rule of ``evaluation.degeneration`` (word "
        "n-grams that have occurred before in the response). Right, for policies that were scored: mean "
        "log-probability per token of a policy's responses under the policy itself and under the base model. Responses "
        "that grow unlikely to the base model while the policy finds them likely are a sign that training has gone too "
        "far. Bars are intervals over queries.",
    ),
    Figure(
        "steering",
        "steering.steering",
        ("steering", "steering_summary"),
        "Steering: what policies make of attributes that held-out queries ask for. Left and middle: mean degree of "
        "each attribute against the degree that was asked for, of the base model, which nobody taught what a label "
        "means, and of the last policy; the dotted line is where one gets what one asks for. Right: rank correlations "
        "(Spearman) of the last policy between the value that was asked for (rows) and the degree of every attribute "
        "(columns). The diagonal should be blue; what is not white beside it is dragged along. A dash says that all "
        "degrees are equal. The other attributes are asked for as ``method.steering.others`` says. Bars are intervals "
        "over queries; those of the correlations are in the table ``steering_summary``.",
        of="steering",
    ),
    Figure(
        "candidates",
        "screening.candidates",
        ("candidates",),
        "Screening: the bound on I(Y; C | x) of every pair of a principle and its opposite, as the base model hears it "
        "on the screening queries, with its interval over queries; the highest first. Pairs whose interval lies above "
        "the dotted line are heard. Filled points are kept. Open ones are not: they say the same as a kept pair, "
        "which is named beside them, there were enough already, or they are not heard. Who scores high can be "
        "taught; whether it should be is for people to say.",
        of="screening",
    ),
    Figure(
        "comparison",
        "win_rates.comparison",
        ("comparison",),
        "Win rates of several experiments side by side, by the first judge of each: a panel for each comparator and a "
        "row for the last trained policy of each experiment, or for another model beside it, whose name then follows "
        "the experiment's. Filled points are win rates as judged, whose numbers stand to the right; hollow ones are "
        "those at equal length. Grey boxes and lines are published win rates. Bars are intervals over queries. Whether "
        "two experiments differ is not seen from whether their bars overlap: the table ``comparison`` has paired "
        "differences to the first experiment.",
        of="comparison",
    ),
    Figure(
        "frontier",
        "relevance.frontier",
        ("frontier",),
        "Win rate against relevance of several experiments, a line for each through its iterations, the last of which "
        "is filled: win rates by the first judge against the first comparator, margin (left) and share of identified "
        "responses (right) under the queries alone, as in the figure of each experiment. Dotted lines are a win rate "
        "of one half and the base model's relevance (the highest, where there are several); the shaded corner is where "
        "one wants to be. An experiment is better than another where its points lie above and to the right. Those "
        "whose relevance was not measured are missing. Bars are intervals over queries.",
        of="comparison",
    ),
    Figure(
        "quality",
        "methods.quality",
        ("steerability", "internalising"),
        "Methods side by side: win rate by the first judge against the first comparator, and what it took. Across: "
        "tokens of the policy's whole making, in forward passes: sampled, scored, and three times those trained on. "
        "Hollow points were not trained. Left: policies that were told what is wanted, and what is not; right: asked "
        "the query alone. A point is the mean over seeds, and its bar an interval over seeds and queries together.",
        of="methods",
    ),
    Figure(
        "quality_and_relevance",
        "methods.quality_and_relevance",
        ("steerability", "internalising"),
        "Methods side by side: win rate by the first judge against the first comparator, and whether responses still "
        "belong to their queries: by how much they are likelier under their own query than under the likeliest of some "
        "others, per token, by the base model. A policy that moves to the right and down wins by answering less. Short "
        "responses have larger margins: compare arms of one length. Dotted lines are the base model, which stands at "
        "half the wins against itself; hollow points were not trained. Bars are intervals over seeds and queries "
        "together.",
        of="methods",
    ),
    Figure(
        "seeds",
        "seeds.seeds",
        ("seeds", "joined"),
        "Runs that differ in their seed alone, by iteration: a thin line for each seed, and their mean with its "
        "interval over seeds and queries together. The win rate is that by the first judge against the first "
        "comparator; the bound, the margin, and the log-probability (per token, under the base model by the query "
        "alone) are those of a policy's own responses. How far the thin lines part is what another seed would change; "
        "with a few of them the interval knows that only roughly.",
        of="seeds",
    ),
)
FIGURES = {figure.name: figure for figure in _ALL}


def figures(*kinds: str) -> list[Figure]:
    """The figures of what is of some kinds (see `Figure.of`), in the order of the page."""
    return [figure for figure in FIGURES.values() if figure.of in kinds]


def of_experiment(training: bool, scored: bool, held_out: bool) -> list[Figure]:
    """The figures of an experiment: whether it trains, scores its policies, and has held-out principles."""
    return figures("every", *["training"] * training, *["scored"] * scored, *["held-out"] * held_out)


def files(figures: list[Figure]) -> list[str]:
    """Names of the files of figures."""
    return [file for figure in figures for file in figure.files]
