# The pipeline: Prefect's server, its worker and the webhook receiver are commands of this one image.
#
#   docker build --file infra/docker/pipeline.Dockerfile --tag kvsync-pipeline:dev .
#
# A worker in it tests with --cluster local, or on the cluster of a kubeconfig. Kind needs a worker on a machine
# with Docker instead: Docker's socket in a container would give the container control of the whole machine.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git tini \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes --no-deps --requirement requirements.lock
# prefect-kubernetes==0.8.0, for the worker of a Kubernetes work pool.
ARG EXTRA=
RUN if [ -n "$EXTRA" ]; then pip install --no-cache-dir "$EXTRA" && pip check; fi
COPY pyproject.toml README.md stages.toml ./
COPY kvsync kvsync
COPY flows flows
COPY tasks tasks
COPY deployments deployments
COPY infra infra
COPY .github .github
COPY tests tests
RUN pip install --no-cache-dir --no-deps --editable . \
 && python -m compileall -q . \
 && useradd --uid 65532 --home-dir /data --no-create-home kvsync \
 && install --directory --owner=65532 --group=65532 /data
# The repository comes first on the path: a stray package called `tasks` must not be found instead of ours.
# Prefect writes its UI to a folder before serving it, and the default one, next to its code, is read-only.
ENV PYTHONPATH=/app PYTHONUNBUFFERED=1 DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false \
    HOME=/data PREFECT_HOME=/data/.prefect PREFECT_SERVER_UI_STATIC_DIRECTORY=/tmp/prefect-ui
VOLUME /data
USER 65532:65532
# tini reaps the zombies that the processes of a run leave behind.
ENTRYPOINT ["tini", "--"]
CMD ["kvsync-ci", "serve", "--report-dir", "/data/reports"]
