#!/bin/bash
# Makes the Python environment that the sub-jobs use; once, on the login node (it needs the package index).
#   bash jobs/make_environment.sh [--trust] [RUN]
# With a container in the site block: an environment on top of the TensorFlow of the image. It adds the packages that
# the image lacks and must not replace TensorFlow, Keras or NumPy, which are built for the image's CUDA. Without a
# container: a separate environment, with TensorFlow and its CUDA libraries from the package index.
# Needs a run (RUN, or the newest) for its site block. --trust: start what the site file of RUN names, although others can
# have written it. Exit codes: 0 made, 2 something is missing.
set -euo pipefail

here=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
REPOSITORY=$here
# shellcheck source=jobs/environment.sh
source "$here/jobs/environment.sh"
find_repository
# shellcheck disable=SC2034 # for read_site
site_trust="bash $(pasted jobs/make_environment.sh --trust) RUN"
if [[ ${1:-} == --trust ]]; then
    TRUST=yes
    shift
fi
[[ -z ${1:-} ]] || RUN_DIR=$(CDPATH='' cd -- "$1" 2> /dev/null && pwd) || fail "$1 is not a folder; expected a run that make_grid.py made"
find_run
read_site
load_modules
target=${SITE_ENVIRONMENT:-$repository/.venv}
# Where the home directory cannot be written, Keras would read /tmp/.keras/keras.json, which anyone can have written.
export KERAS_HOME=/dev/null/keras

if [[ -z $SITE_CONTAINER ]]; then
    source_python=${PYTHON:-python3}
    "$source_python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' ||
        fail "$("$source_python" --version) found; expected Python 3.10 to 3.13: PYTHON=/path/to/python3.11 bash $(pasted jobs/make_environment.sh "$@")"
    "$source_python" -m venv "$target"
    "$target/bin/python" -m pip install --disable-pip-version-check --require-hashes -r "$repository/requirements-cluster.lock"
    "$target/bin/python" -c 'import keras, tensorflow; print("TensorFlow", tensorflow.__version__, "Keras", keras.__version__)'
    show "made $target"
    exit 0
fi

[[ -e $SITE_CONTAINER ]] || fail "the container $written_container does not exist; expected its path as container: in the site block of grid.yaml"
command -v "$SITE_CONTAINER_COMMAND" > /dev/null || fail "$SITE_CONTAINER_COMMAND is not on PATH; load its module, or name it in modules: of the site block"
inside=("$SITE_CONTAINER_COMMAND" exec --bind "$repository" --bind "$(dirname "$target")")
[[ -z $SITE_CONTAINER_BINDS ]] || inside+=(--bind "$SITE_CONTAINER_BINDS")
inside+=("$SITE_CONTAINER")

# Packages of the user in $HOME/.local would hide those of the image.
export PYTHONNOUSERSITE=1
"${inside[@]}" python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "the image's python3 is too old; expected Python 3.10 or newer, with TensorFlow 2.16 or newer"
"${inside[@]}" python3 -c 'import tensorflow' || fail "the image has no TensorFlow that its python3 can import"
# What the image lacks, in the versions and with the hashes of the lock; NumPy and all else that is there stay.
missing=$("${inside[@]}" python3 "$repository/jobs/common/requirements.py" "$repository/requirements-image.lock")
# --without-pip, because images often lack ensurepip; the pip of the image installs into the environment.
"${inside[@]}" python3 -m venv --system-site-packages --without-pip "$target"
pinned=$target/image-packages.txt
"${inside[@]}" python3 - > "$pinned" << 'PYTHON'
import importlib.metadata

# The versions of the image: replacing one would break its TensorFlow.
for name in ("tensorflow", "keras", "numpy", "ml-dtypes", "h5py", "protobuf"):
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        continue
    # The build of a vendor such as 2.16.1+nv24.06 is not in the package index; pip finds it installed.
    if not (name == "keras" and int(version.split(".")[0]) < 3):
        print(f"{name}=={version}")
PYTHON
wanted=$target/locked-packages.txt
printf '%s\n' "$missing" > "$wanted"
[[ -z $missing ]] || "${inside[@]}" "$target/bin/python" -m pip install --disable-pip-version-check --require-hashes --constraint "$pinned" --requirement "$wanted" ||
    fail "the packages that the image lacks could not be installed as they are locked; expected an image with TensorFlow 2.16 or newer, and the package index. Where pip says that a version is not pinned, the image has a package that is too old"
"${inside[@]}" "$target/bin/python" - "$pinned" << 'PYTHON'
import importlib.metadata
import sys

import filelock, imagecodecs, jinja2, matplotlib, mrcfile, msgspec, pandas, PIL, rich, scipy, seaborn, statsmodels, tifffile, yaml  # noqa: E401,F401 - each must import
import keras
import tensorflow

changed = []
for line in open(sys.argv[1]):
    name, version = line.strip().split("==")
    if importlib.metadata.version(name) != version:
        changed.append(f"{name} {version} -> {importlib.metadata.version(name)}")
if changed:
    sys.exit("the image's packages were replaced: " + ", ".join(changed))
print("TensorFlow", tensorflow.__version__, "Keras", keras.__version__, "in", sys.prefix)
PYTHON
show "made $target over $written_container"
