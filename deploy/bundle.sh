#!/bin/sh
# Puts together all that a host without a network needs: images, binaries, compose
# files, manifests, documents, licences, bills of materials and checksums. See
# docs/airgap.md.
#
#   deploy/bundle.sh [VERSION]
#
# BUNDLE_DIR       where the bundle goes (bin/bundle)
# BUNDLE_BIN       where the binaries are (bin; make build makes them)
# BUNDLE_IMAGES    "yes", "no", or "auto": when a Docker engine answers (auto)
# BUNDLE_PROFILES  profiles of docker-compose.yml whose images go along
set -eu
cd "$(dirname "$0")/.."
version=${1:-$(git describe --tags --always --dirty)}
target=${BUNDLE_DIR:-bin/bundle}
binaries=${BUNDLE_BIN:-bin}
profiles=${BUNDLE_PROFILES:-demo tools monitoring}
name=tapline-$version
out=$target/$name

say() { echo "bundle: $*" >&2; }

rm -rf "$out"
mkdir -p "$out/bin" "$out/licenses" "$out/sbom"
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
go build -o "$tools/sbom" ./test/repo/cmd/sbom

for file in "$binaries"/*; do
  if [ -f "$file" ] && [ -x "$file" ]; then cp "$file" "$out/bin/"; fi
done
[ -n "$(ls "$out/bin")" ] || { say "no binaries in $binaries: make build makes them"; exit 1; }

# What is in version control, and nothing else: no .env, no secrets.
git ls-files -z -- docker-compose.yml deploy docs README.md ARCHITECTURE.md CHANGELOG.md SECURITY.md LICENSE |
  tar --create --null --files-from - | tar --extract --directory "$out"

# Images that were loaded from a file have no digest of a registry: here the checksum of that file
# says what they are.
sed -E -i 's/@sha256:[0-9a-f]{64}//' "$out/docker-compose.yml" "$out/deploy/cluster.yml" "$out/deploy/images.env" "$out/deploy/k8s/nats/nats.yaml"

# Licences of everything that is linked in.
(cd services && GOWORK=off go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}}@{{.Version}} {{.Dir}}{{end}}{{end}}' ./... | sort -u) |
  while read -r module dir; do
    case $module in github.com/tapline/*) continue ;; esac
    mkdir -p "$out/licenses/$module"
    find "$dir" -maxdepth 1 -type f \( -iname 'LICEN[CS]E*' -o -iname 'NOTICE*' -o -iname 'COPYING*' \) -exec cp {} "$out/licenses/$module/" \;
    [ -n "$(ls "$out/licenses/$module")" ] || say "$module has no file that looks like a licence"
  done
cp "$(go env GOROOT)/LICENSE" "$out/licenses/go.LICENSE"

images=${BUNDLE_IMAGES:-auto}
if [ "$images" = auto ]; then
  images=no
  if docker version >/dev/null 2>&1; then images=yes; else say "no Docker engine answers: the bundle has no images"; fi
fi
if [ "$images" = yes ]; then
  export TAPLINE_VERSION="$version"
  set --
  for profile in $profiles; do set -- "$@" --profile "$profile"; done
  docker compose "$@" build --quiet
  # shellcheck disable=SC2046 # names of images have no spaces
  set -- $(docker compose "$@" config --images | sort -u)
  for image in "$@"; do
    docker image inspect "$image" >/dev/null 2>&1 || docker pull --quiet "$image" ||
      { say "cannot get $image; BUNDLE_PROFILES=\"demo tools\" does without monitoring"; exit 1; }
    plain=${image%@*}
    [ "$plain" = "$image" ] || docker tag "$image" "$plain"
    container=$(docker create "$plain" none)
    docker export --output "$tools/root.tar" "$container"
    docker rm "$container" >/dev/null
    "$tools/sbom" image "$plain" "$(docker image inspect --format '{{.Id}}' "$plain")" "$tools/root.tar" \
      >"$out/sbom/image-$(echo "$plain" | tr '/:' '--').cdx.json"
    shift
    set -- "$@" "$plain"
  done
  docker image inspect --format '{{index .RepoTags 0}} {{.Id}} {{.Size}}' "$@" >"$out/images.txt"
  docker save "$@" | gzip -n >"$out/images.tar.gz"
fi

"$tools/sbom" "$version" "$out"/bin/* >"$out/sbom.cdx.json"
for binary in "$out"/bin/*; do
  "$tools/sbom" "$version" "$binary" >"$out/sbom/$(basename "$binary").cdx.json"
done
(cd "$out" && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | sed 's|^\./||' | xargs -d '\n' sha256sum >SHA256SUMS)

tar --create --gzip --file "$target/$name.tar.gz" --directory "$target" --owner 0 --group 0 --sort name "$name"
(cd "$target" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
say "made $target/$name.tar.gz ($(du -h "$target/$name.tar.gz" | cut -f1))"
