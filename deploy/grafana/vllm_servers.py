"""The vLLM servers behind the guard, by vLLM's own metrics."""

from panels import Page, Row, number, quantiles, series

RATE = "[$__rate_interval]"

LOAD = Row(
    "Load",
    [
        number(
            "Servers", "Whether Prometheus reaches each vLLM server.", "up", ('up{job="vllm"}', "{{instance}}"), width=8
        ),
        series(
            "Requests",
            "Requests in the running batch, and requests that wait for a place in it. A queue here while the guard's is empty "
            "means that SAFER_MAX_IN_FLIGHT is more than vLLM can take.",
            "short",
            ("sum by (instance) (vllm:num_requests_running)", "{{instance}} running"),
            ("sum by (instance) (vllm:num_requests_waiting)", "{{instance}} waiting"),
        ),
        series(
            "KV cache in use",
            "Share of the cache's blocks in use. Near 100 %, requests are preempted and computed again.",
            "percentunit",
            ("max by (instance) (vllm:kv_cache_usage_perc)", "{{instance}}"),
            limit=0.95,
        ),
        series(
            "Preemptions",
            "Requests a second that were put back for want of cache blocks. More memory, fewer sequences or more GPUs help.",
            "reqps",
            (f"sum by (instance) (rate(vllm:num_preemptions_total{RATE}))", "{{instance}}"),
        ),
        series(
            "Finished requests by reason",
            "stop and length are ends; abort is a caller that left, or the guard that had seen enough.",
            "reqps",
            (f"sum by (finished_reason) (rate(vllm:request_success_total{RATE}))", "{{finished_reason}}"),
            stacked=True,
        ),
        series(
            "Tokens",
            "Prompt tokens read and tokens written a second.",
            "cps",
            (f"sum(rate(vllm:prompt_tokens_total{RATE}))", "prompt"),
            (f"sum(rate(vllm:generation_tokens_total{RATE}))", "written"),
        ),
    ],
)

TIME = Row(
    "Time",
    [
        series(
            "Time to first token",
            "From vLLM's receipt of a request to its first token: queue and prefill. SAFER_FIRST_TOKEN_SECONDS is when the guard "
            "asks another replica.",
            "s",
            *quantiles("vllm:time_to_first_token_seconds", 0.5, 0.99),
        ),
        series(
            "Time between tokens",
            "The pace of decoding. It grows with the batch, and with a constraint that is slow.",
            "s",
            *quantiles("vllm:inter_token_latency_seconds", 0.5, 0.99),
        ),
        series(
            "Whole request",
            "From receipt to the last token.",
            "s",
            *quantiles("vllm:e2e_request_latency_seconds", 0.5, 0.99),
        ),
        series(
            "Queue, prefill and decoding, p95",
            "Where the time of a request goes inside vLLM.",
            "s",
            *((query, "queue") for query, _ in quantiles("vllm:request_queue_time_seconds", 0.95)),
            *((query, "prefill") for query, _ in quantiles("vllm:request_prefill_time_seconds", 0.95)),
            *((query, "decoding") for query, _ in quantiles("vllm:request_decode_time_seconds", 0.95)),
        ),
        series(
            "Prefix cache hits",
            "Share of prompt tokens whose keys and values were in the cache. The guard's prompts begin alike, so it should be "
            "high.",
            "percentunit",
            (
                f"sum by (instance) (rate(vllm:prefix_cache_hits_total{RATE})) "
                f"/ (sum by (instance) (rate(vllm:prefix_cache_queries_total{RATE})) > 0)",
                "{{instance}}",
            ),
        ),
        series(
            "Picture cache hits",
            "Share of pictures whose features were in the cache.",
            "percentunit",
            (
                f"sum by (instance) (rate(vllm:mm_cache_hits_total{RATE})) "
                f"/ (sum by (instance) (rate(vllm:mm_cache_queries_total{RATE})) > 0)",
                "{{instance}}",
            ),
        ),
    ],
)

PAGE = Page(
    "safer-vllm", "SaFeR vLLM servers", "The vLLM servers behind the guard, by vLLM's own metrics.", [LOAD, TIME]
)
