"""How long the guard takes, who waits, and how its engine is."""

from panels import Page, Row, heat, listing, number, quantiles, series

RATE = "[$__rate_interval]"

TIME = Row(
    "Time",
    [
        series(
            "Time to decision",
            "From arrival to the verified decision, the queue included: how long a caller waits before the first word of an "
            "answer. The alert fires where p99 stays above 10 s.",
            "s",
            *quantiles("safer_time_to_decision_seconds", 0.5, 0.9, 0.99),
            limit=10,
        ),
        heat(
            "Time to decision, all of them",
            "How many decisions fell into which bucket. Two bands are two kinds of traffic that a quantile would blur.",
            f"sum by (le) (rate(safer_time_to_decision_seconds_bucket{RATE}))",
        ),
        series(
            "Time by stage, p95",
            "Waiting in the queue, and writing the plan, the trace and the answer. What grows tells where to look: queue, load; "
            "the others, the engine.",
            "s",
            *quantiles("safer_stage_seconds", 0.95, by="stage"),
        ),
        series(
            "Whole request by endpoint, p99",
            "From arrival to the end of the reply.",
            "s",
            *quantiles("safer_request_seconds", 0.99, by="endpoint"),
        ),
        series(
            "Whole request by outcome, p99",
            "Refusals end sooner than answers. failed_closed near SAFER_REQUEST_SECONDS is a timeout.",
            "s",
            *quantiles("safer_request_seconds", 0.99, by="outcome"),
        ),
        series(
            "Time of the engine by replica, p99",
            "What the engine took of a case, without the queue. One line above the others is a slow replica.",
            "s",
            *quantiles("safer_engine_request_seconds", 0.99, by="replica"),
        ),
    ],
)

QUEUE = Row(
    "Queue",
    [
        series(
            "In flight and waiting",
            "Requests being worked on, at most SAFER_MAX_IN_FLIGHT a worker, and requests that wait, at most "
            "SAFER_MAX_QUEUE a worker.",
            "short",
            ("sum by (instance) (safer_in_flight)", "{{instance}} in flight"),
            ("sum by (instance) (safer_queue_depth)", "{{instance}} waiting"),
        ),
        series(
            "Time in the queue",
            "How long requests wait for a slot. Near zero is right; seconds call for more servers or replicas.",
            "s",
            *quantiles("safer_stage_seconds", 0.5, 0.99, where='{stage="queue"}'),
        ),
        series(
            "Turned away",
            "Requests answered 503 because the queue was full. They are no cases: no other panel counts them.",
            "reqps",
            (f"sum by (instance) (rate(safer_turned_away_total{RATE}))", "{{instance}}"),
        ),
    ],
)

ENGINE = Row(
    "Engine",
    [
        number(
            "Servers",
            "Whether Prometheus reaches each server.",
            "up",
            ('up{job="safer"}', "{{instance}}"),
            width=6,
        ),
        number(
            "Canary",
            "Whether a request of the server's own has come back verified since its start; before that it is not ready.",
            "up",
            ("min by (instance) (safer_canary_passed)", "{{instance}}"),
            width=6,
        ),
        number(
            "Replicas",
            "Whether each replica of the engine answers and, for vLLM, proves that it is constrained; in each worker.",
            "up",
            ("min by (instance, replica) (safer_engine_up)", "{{instance}} {{replica}}"),
            width=6,
        ),
        number(
            "Calls in a trace",
            "Mean number of tool calls in a verified trace. It moves with the depths that callers ask for, and with the model.",
            "short",
            (f"sum(rate(safer_trace_steps_sum{RATE})) / sum(rate(safer_trace_steps_count{RATE}))", "calls"),
            width=6,
        ),
        series(
            "Tokens",
            "Tokens read (prompt) and written (plan, trace, answer) a second.",
            "cps",
            (f"sum by (kind) (rate(safer_tokens_total{RATE}))", "{{kind}}"),
            stacked=True,
        ),
        series(
            "Tool calls",
            "Calls in verified traces a second.",
            "cps",
            (f"sum by (tool) (rate(safer_tool_calls_total{RATE}))", "{{tool}}"),
            stacked=True,
        ),
        series(
            "Grammar: blocks loaded and compiled",
            "Since the start. Blocks that are compiled again at every start mean that the cache folder does not last.",
            "short",
            ("sum by (instance, cache) (safer_grammar_compile_seconds_count)", "{{instance}} {{cache}}"),
        ),
        series(
            "Grammar: memory",
            "What the compiled grammar takes, over all workers of a server. 0 without a mask machine in this process.",
            "bytes",
            ("sum by (instance) (safer_constraint_bytes)", "{{instance}}"),
        ),
        listing(
            "What is running",
            "Version, model, engine and protocol of each server. Two protocol hashes mean that a roll-out is under way, or stuck.",
            "safer_build_info",
            width=16,
        ),
    ],
)

PAGE = Page(
    "safer-engine",
    "SaFeR latency, queue and engine",
    "How long the guard takes, who waits, and how its engine is.",
    [TIME, QUEUE, ENGINE],
)
