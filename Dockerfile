# Two images from one file:
#
#     docker build --target api    -t winnow-api .        HTTP API, dashboard and migrations; no torch
#     docker build --target worker -t winnow-worker .     trains, searches, measures and exports
#
# Which build of torch the worker gets is decided by the package index that it comes from. The default is
# pip's usual index: the CPU build on ARM, the CUDA build on x86-64, which also runs without a GPU but is
# several gigabytes larger. For the small CPU build, or for a certain CUDA version, give the address of that
# index (PyTorch's "Get Started" page prints it as `--index-url`, ending in /cpu or /cu130):
#
#     docker build --target worker --build-arg TORCH_INDEX_URL=ADDRESS -t winnow-worker .
#
# Other extras of pyproject.toml: --build-arg API_EXTRA=s3,otel goes into both images, --build-arg EXTRA=lm-eval (task
# files of lm-evaluation-harness) into the worker alone.
#
# A GPU needs nothing else in the image: the NVIDIA container toolkit brings the driver.

FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PATH=/opt/winnow/bin:$PATH \
    WINNOW_DATA_DIR=/data
# A named volume that is mounted on /data takes over its owner.
RUN useradd --system --uid 10001 --user-group --create-home winnow \
    && install --directory --owner=winnow --group=winnow /data \
    && python -m venv /opt/winnow
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./

# Dependencies first: without the sources pip installs what pyproject.toml asks for and an empty winnow, so
# that a change of the sources repeats only the last, short step.
FROM base AS api-dependencies
ARG API_EXTRA=
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check --constraint constraints.txt ".${API_EXTRA:+[$API_EXTRA]}"

FROM api-dependencies AS worker-dependencies
ARG TORCH_INDEX_URL=
ARG EXTRA=
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ -n "$TORCH_INDEX_URL" ]; then \
        pip install --disable-pip-version-check --constraint constraints.txt --no-deps \
            --index-url "$TORCH_INDEX_URL" torch; \
    fi \
    && pip install --disable-pip-version-check --constraint constraints.txt '.[worker]' \
    && if [ -n "$EXTRA" ]; then \
        pip install --disable-pip-version-check --constraint constraints.txt ".[$EXTRA]"; \
    fi

FROM api-dependencies AS api
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check --no-deps --force-reinstall . \
    && rm -rf /build/*
WORKDIR /data
USER winnow
EXPOSE 8420
ENV WINNOW_HOST=0.0.0.0
# Whether the process answers. Whether PostgreSQL and Redis do as well is /readyz: restarting would not help them.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('WINNOW_PORT', '8420') + '/healthz', timeout=4)"]
CMD ["winnow", "api"]

FROM worker-dependencies AS worker
# OpenMP, for torch and scikit-learn.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check --no-deps --force-reinstall . \
    && rm -rf /build/*
WORKDIR /data
USER winnow
CMD ["winnow", "worker"]
