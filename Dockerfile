# syntax=docker/dockerfile:1

# kvd as a container: no root, no compiler, no writable file system.
#
#   docker build --tag kvd .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --publish 127.0.0.1:8765:8765 --env KVD_PUBLISH_TOKENS=NAME:read:... kvd
#
# In a container kvd listens on every address, so it wants KVD_PUBLISH_TOKENS (or KVD_PUBLISH_TOKENS_FILE), or
# KVD_PUBLISH_ALLOW_OPEN=true where something else guards the port, as in deploy/compose.yaml.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/kvd
COPY requirements.lock ./
RUN /opt/kvd/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY kvd kvd
RUN /opt/kvd/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheel . \
 && /opt/kvd/bin/pip install --no-cache-dir --no-deps --no-index /wheel/*.whl \
 && /opt/kvd/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim-bookworm
COPY --from=build /opt/kvd /opt/kvd
# One thread for BLAS: the matrices are small, and threads would only fight over the event loop's core.
ENV PATH=/opt/kvd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OPENBLAS_NUM_THREADS=1 \
    KVD_PUBLISH_HOST=0.0.0.0
# Where a volume takes a checkpoint (KVD_CHECKPOINT_PATH): a new one takes its owner from here.
RUN install --directory --owner 65532 --group 65532 /var/lib/kvd
USER 65532:65532
EXPOSE 8765
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 CMD ["kvd", "healthcheck"]
ENTRYPOINT ["kvd"]
CMD ["run"]
