# One static binary and the public certificate authorities: no shell, no libc, nothing to update but the agent.
#   docker build --build-arg VERSION=v0.1.0 --tag ordinal-agent:v0.1.0 .

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
# The same source, version and Go give the same bytes: no paths, no build id, no time stamps.
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=${VERSION}" -o /agent ./cmd/agent

FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="ordinal-agent" \
      org.opencontainers.image.description="Replicated MySQL from a plain StatefulSet: init container and sidecar" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /agent /agent
# mysql:mysql in the stock image: agent and mysqld share the volume.
USER 999:999
# 3307 data plane (mutual TLS), 8080 status plane (plain, no data)
EXPOSE 3307 8080
ENTRYPOINT ["/agent"]
