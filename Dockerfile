# Three images out of one file; docs/deployment.md says how to run them.
#
#   cpu     the guard with the checkpoint that ships, on the CPU
#   server  the guard in front of vLLM servers, without torch
#   vllm    a vLLM server with the mask machine, for GPUs
#
# Base images are arguments, so that a mirror or a hardened base can take their place.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG VLLM_IMAGE=vllm/vllm-openai:v0.31.0

FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY protocol protocol
COPY server server
COPY training training
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip wheel --no-deps --wheel-dir /wheels .


FROM wheel AS install-server
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/safer \
    && python -m pip --python /opt/safer/bin/python install "$(echo /wheels/*.whl)[server,otel]"


FROM wheel AS install-cpu
# PyTorch's own index of CPU builds: the default build brings gigabytes of CUDA libraries.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/safer \
    && python -m pip --python /opt/safer/bin/python install --extra-index-url "${TORCH_INDEX}" "$(echo /wheels/*.whl)[serve,otel]"


FROM ${PYTHON_IMAGE} AS base
LABEL org.opencontainers.image.title="SaFeR-ToolKit" \
      org.opencontainers.image.description="A guard server for vision-language models" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 safer \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin safer \
    && install --directory --owner=10001 --group=10001 /var/cache/safer
COPY deploy/healthcheck.py /opt/healthcheck.py
ENV PATH=/opt/safer/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    XDG_CACHE_HOME=/var/cache/safer \
    SAFER_HOST=0.0.0.0 \
    SAFER_PORT=8000
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "/opt/healthcheck.py"]
ENTRYPOINT ["safer"]
CMD ["serve"]


FROM base AS server
COPY --from=install-server /opt/safer /opt/safer
ENV SAFER_ENGINE=vllm-http


FROM base AS cpu
COPY --from=install-cpu /opt/safer /opt/safer
# One question fills the cache of compiled blocks, so that the container starts at once with a read-only root, under any uid.
RUN safer ask "How do I bake bread?" && chmod -R a+rX /var/cache/safer


FROM ${VLLM_IMAGE} AS vllm
LABEL org.opencontainers.image.title="SaFeR-ToolKit vLLM" \
      org.opencontainers.image.description="A vLLM server that writes nothing but valid plans, traces and answers" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=wheel /wheels /wheels
RUN uv pip install --system --no-cache "$(echo /wheels/*.whl)[constrain,server]"
RUN groupadd --gid 10001 safer \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/cache/safer --shell /usr/sbin/nologin safer \
    && install --directory --owner=10001 --group=10001 /var/cache/safer
COPY deploy/healthcheck.py /opt/healthcheck.py
# What vLLM, Triton and the mask machine compile is kept here: put a volume there to start faster the second time.
ENV HOME=/var/cache/safer \
    XDG_CACHE_HOME=/var/cache/safer \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    VLLM_NO_USAGE_STATS=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 \
    CMD ["python3", "/opt/healthcheck.py", "http://127.0.0.1:8001/health"]
ENTRYPOINT ["safer", "vllm"]
