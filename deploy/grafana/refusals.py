"""How much the guard refuses, whether it should have, and how much of it is a fault."""

from panels import Page, Query, Row, number, series

RATE = "[$__rate_interval]"


def refused_by(label: str, metric: str = "safer_decisions_total", where: str = 'policy=~"$policy"') -> Query:
    """Of the decisions with each value of a label, the share that refuses; values without decisions are left out."""
    refused = ", ".join(filter(None, ('decision="refuse"', where)))
    all_of_it = f"sum by ({label}) (rate({metric}{{{where}}}{RATE}))"
    return f"sum by ({label}) (rate({metric}{{{refused}}}{RATE})) / ({all_of_it} > 0)", f"{{{{{label}}}}}"


def refused_cases_by(label: str) -> Query:
    """Of the cases with each value of a label, the share that is refused, or would be; values without cases are left out."""
    refused = (
        f'sum by ({label}) (rate(safer_requests_total{{outcome=~"refused|would_refuse", policy=~"$policy"}}{RATE}))'
    )
    return (
        f'{refused} / (sum by ({label}) (rate(safer_requests_total{{policy=~"$policy"}}{RATE})) > 0)',
        f"{{{{{label}}}}}",
    )


NOW = Row(
    "Now",
    [
        number(
            "Cases",
            "Requests a second that reached a verdict or failed closed. Errors in the request (4xx) and requests turned away "
            "are not cases.",
            "reqps",
            (f"sum(rate(safer_requests_total{RATE}))", "cases"),
        ),
        number(
            "Refusal rate",
            "Of all cases of the last 5 minutes, those that the guard decided to refuse; under a shadow policy, would have. No "
            "number is right in itself: watch for change.",
            "percentunit",
            ("safer:refusal:ratio_rate5m", "refused"),
        ),
        number(
            "Over-refusal proxy",
            "Of the decisions whose own trace ends at no or low risk, those that refuse all the same, over 5 minutes. It shows "
            "refusals that contradict the guard's own findings; a harmless request that the guard finds risky is not seen here.",
            "percentunit",
            ("safer:over_refusal:ratio_rate5m", "over-refused"),
            warn=0.02,
            bad=0.05,
        ),
        number(
            "Failed closed",
            "Of all cases of the last 5 minutes, those that were refused because no verified trace came of them: faults, not "
            "judgements. The alert fires above 1 %.",
            "percentunit",
            ("safer:failed_closed:ratio_rate5m", "failed closed"),
            warn=0.005,
            bad=0.01,
        ),
        number(
            "Time to decision, p99",
            "Ninety-nine of a hundred decisions took less, over 5 minutes, from arrival on, the queue included. The alert fires "
            "above 10 s.",
            "s",
            ("safer:time_to_decision_seconds:p99_rate5m", "p99"),
            warn=5,
            bad=10,
        ),
        number(
            "Firing alerts",
            "How many alerts fire now; red marks on all graphs show when they did.",
            "short",
            ('count(ALERTS{alertstate="firing"}) or vector(0)', "alerts"),
            bad=1,
        ),
    ],
)

TOGETHER = Row(
    "Refused, and rightly?",
    [
        series(
            "Refusals, over-refusals and faults",
            "The three rates beside one another. Refusals up alone: other traffic, or an attack. Over-refusals up as well: the "
            "model or a policy has become too strict. Failed closed up: a fault, whatever the other two say.",
            "percentunit",
            ("safer:refusal:ratio_rate5m", "refused, of all cases"),
            ("safer:over_refusal:ratio_rate5m", "refused, of what the trace finds harmless"),
            ("safer:failed_closed:ratio_rate5m", "failed closed, of all cases"),
            width=12,
        ),
        series(
            "Cases by outcome",
            "How cases ended. would_refuse is a refusal that a shadow policy only told of; failed_closed is a refusal for want "
            "of a verified trace.",
            "reqps",
            (f'sum by (outcome) (rate(safer_requests_total{{policy=~"$policy"}}{RATE}))', "{{outcome}}"),
            width=12,
            stacked=True,
        ),
    ],
)

WHERE = Row(
    "Where refusals come from",
    [
        series(
            "Refusal rate by policy",
            "Of a policy's cases, those refused or, under a shadow policy, marked for refusal.",
            "percentunit",
            refused_cases_by("policy"),
        ),
        series(
            "Refusal rate against the day's",
            "What the alert on a jump compares, for each policy: the last 30 minutes with the last 24 hours.",
            "percentunit",
            ('policy:safer_refusal:ratio_rate30m{policy=~"$policy"}', "{{policy}}, 30 minutes"),
            ('policy:safer_refusal:ratio_rate1d{policy=~"$policy"}', "{{policy}}, 24 hours"),
        ),
        series(
            "Refusal rate by endpoint",
            "Of the cases of an endpoint, those refused.",
            "percentunit",
            refused_cases_by("endpoint"),
        ),
        series(
            "Refusal rate by category",
            "Of the decisions about a hazard category, those that refuse. Category none is what the guard holds to be harmless.",
            "percentunit",
            refused_by("category"),
        ),
        series(
            "Refusal rate by tool",
            "Of the decisions whose trace called a tool, those that refuse. A tool whose line leaves the others finds more than it "
            "did, or less. Over all policies.",
            "percentunit",
            refused_by("tool", "safer_decisions_by_tool_total", ""),
        ),
        series(
            "Refusal rate by modality",
            "Of the decisions about texts, pictures, or both, those that refuse.",
            "percentunit",
            refused_by("modality"),
        ),
        series(
            "Refusal rate by model",
            "Of the decisions of a guard model, those that refuse: two lines while a new checkpoint is rolled out.",
            "percentunit",
            refused_by("model"),
        ),
        series(
            "Refusals by category",
            "How many refusals a second each category makes up.",
            "cps",
            (
                f'sum by (category) (rate(safer_decisions_total{{decision="refuse", policy=~"$policy"}}{RATE}))',
                "{{category}}",
            ),
            stacked=True,
        ),
        series(
            "Decisions by severity",
            "How severe the traces hold cases to be. A shift here comes from the traffic or the model, not from a policy.",
            "cps",
            (f'sum by (severity) (rate(safer_decisions_by_severity_total{{policy=~"$policy"}}{RATE}))', "{{severity}}"),
            stacked=True,
        ),
    ],
)

FAULTS = Row(
    "Failed closed",
    [
        series(
            "Failed closed by reason",
            "Why no verified trace came of a case; docs/metrics.md explains each reason. token_limit, unjudged, not_as_asked and "
            "upstream_rejected lie with the caller, the others with this side.",
            "cps",
            (f"sum by (reason) (rate(safer_failed_closed_total{RATE}))", "{{reason}}"),
            stacked=True,
        ),
        series(
            "Violations by code",
            "What was wrong with the replies that failed. With a constrained decoder only incomplete is to be expected.",
            "cps",
            (f"sum by (code) (rate(safer_trace_violations_total{RATE}))", "{{code}}"),
            stacked=True,
        ),
        series(
            "Cases by constraint",
            "What constrained the decoder. none: replies are verified all the same, and fail closed more often.",
            "reqps",
            (f"sum by (constraint) (rate(safer_constrained_total{RATE}))", "{{constraint}}"),
            stacked=True,
        ),
    ],
)

PAGE = Page(
    "safer-refusals",
    "SaFeR refusals",
    "How much the guard refuses, whether it should have, and how much of it is a fault.",
    [NOW, TOGETHER, WHERE, FAULTS],
    variables={"policy": "safer_requests_total"},
)
