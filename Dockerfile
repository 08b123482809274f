# An image with the package and its tested set of dependencies.
#
#   docker build -t s2s_lightning .                                          CPU
#   docker build -t s2s_lightning --build-arg TORCH=cu128 .                  CUDA 12.8
#   docker run --rm -v "$PWD:/work" s2s_lightning fit --config transformer
#
# With GPUs add --gpus all. Runs and the cache of prepared data are written below /work.
FROM python:3.11-slim

ARG TORCH=cpu
ENV PYTHONUNBUFFERED=1 S2S_LIGHTNING_CACHE=/work/.cache/s2s_lightning

COPY . /opt/s2s_lightning
RUN pip install --no-cache-dir --extra-index-url "https://download.pytorch.org/whl/${TORCH}" \
    -c /opt/s2s_lightning/constraints.txt /opt/s2s_lightning

WORKDIR /work
ENTRYPOINT ["s2s_lightning"]
CMD ["--help"]
