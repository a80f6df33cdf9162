# smoothiou on a CPU:
#     docker build -t smoothiou .
#     docker run --rm -v "$PWD:/data" smoothiou compare photos --out study
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
# torch for CPUs alone, without CUDA's libraries, from PyTorch's own index; the rest from PyPI.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "torch>=2.11,<2.15" "torchvision>=0.26,<0.30"
COPY --from=build /wheels /wheels
# hadolint ignore=DL3013
RUN wheel=$(echo /wheels/smoothiou-*.whl) \
    && pip install --no-cache-dir "${wheel}[export]" \
    && useradd --create-home --uid 1000 smoothiou
USER 1000
WORKDIR /data
ENTRYPOINT ["smoothiou"]
CMD ["--help"]
