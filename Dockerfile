# The command line and the workflow, without a GPU (docs/guide/install.md). For one:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 -t dglframer .
FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# DGL is linked to the system's OpenMP; git tells a module's tag.
RUN apt-get update \
    && apt-get install -y --no-install-recommends git libgomp1 \
    && rm -rf /var/lib/apt/lists/*

# As `make env`: torch first, then everything else at the locked versions.
WORKDIR /opt/dglframer
COPY requirements-torch.txt requirements.lock ./
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements-torch.txt)" \
    && pip install --no-cache-dir -r requirements-torch.txt \
    && pip install --no-cache-dir --require-hashes --no-deps -r requirements.lock
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e . \
    && pip check \
    && dglframer doctor --compile

WORKDIR /data
CMD ["dglframer", "--help"]
