#!/bin/sh
# The virtual environment that the Makefile works in.
#
#     sh workflow/scripts/environment.sh create FOLDER [PYTHON]
#     sh workflow/scripts/environment.sh remove FOLDER
#
# FOLDER may be a link to a folder on another disk: that one is filled or emptied, the link stays. A
# folder that holds anything is touched only if it was made for this project, which a file in it says.
# Without PYTHON the first interpreter that fits is taken.
set -eu

MARK=made-for
NEEDED='Python 3.11, 3.12 or 3.13'

refuse() {
  printf 'set-up: %s\n' "$1" >&2
  exit 1
}

fits() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

has_venv() {
  "$1" -c 'import venv, ensurepip' 2>/dev/null
}

refuse_without_venv() {
  package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  refuse "the venv module of $1 is missing; on Debian and Ubuntu: apt install $package"
}

check_python() {
  command -v "$1" >/dev/null || refuse "$1 not found; install $NEEDED or say make PYTHON=/path/to/it"
  fits "$1" || refuse "$NEEDED is needed, $1 is $("$1" -V 2>&1 | head -n 1)"
  has_venv "$1" || refuse_without_venv "$1"
}

choose_python() {
  without_venv=
  for candidate in python3.11 python3.12 python3.13 python3 python; do
    if fits "$candidate"; then
      if has_venv "$candidate"; then
        python=$candidate
        return
      fi
      without_venv=${without_venv:-$candidate}
    fi
  done
  if command -v uv >/dev/null; then
    python=$(uv python find --system --no-python-downloads '>=3.11,<3.14' 2>/dev/null) &&
      has_venv "$python" && return
    refuse "$NEEDED not found; uv brings one: uv python install 3.12"
  fi
  [ -z "$without_venv" ] || refuse_without_venv "$without_venv"
  if command -v conda >/dev/null; then
    refuse "$NEEDED not found; conda brings one: conda create --yes --name python3.12 python=3.12 &&\
 conda run --no-capture-output --name python3.12 make report"
  fi
  refuse "$NEEDED not found; install one or say make PYTHON=/path/to/it"
}

# Sets `place`, the folder itself where FOLDER is a link to it, and refuses what is not ours.
find_place() {
  if [ -L "$1" ] && [ ! -e "$1" ]; then
    refuse "$1 is a link to $(readlink "$1"), which is not there; make that folder or remove the link"
  fi
  place=$1
  if [ -e "$1" ]; then
    [ -d "$1" ] || refuse "$1 is no folder; move it away"
    place=$(cd -P -- "$1" && pwd -P)
    [ -z "$(ls -A "$place")" ] || is_ours "$1" ||
      refuse "$1 holds what make did not put there for this project (in $place); move it away"
  fi
}

# A folder in its place that lacks the mark but is ready was made before there was a mark.
is_ours() {
  if [ -L "$1" ]; then
    [ "$(cat "$place/$MARK" 2>/dev/null)" = "$(pwd -P)" ]
  else
    [ -e "$place/$MARK" ] || [ -e "$place/ready" ]
  fi
}

# The mark goes last, so that an interrupted call leaves a folder that the next one knows.
empty_place() {
  pwd -P >"$place/$MARK"
  find "$place" -mindepth 1 -maxdepth 1 ! -name "$MARK" -exec rm -rf {} +
}

# The package is imported from where it lies, from any folder: no build, no network.
link_package() {
  site=$("$place/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  pwd -P >"$site/ke_steps.pth"
}

create() {
  find_place "$1"
  python=${2:-}
  if [ -n "$python" ]; then check_python "$python"; else choose_python; fi
  # not the one in the folder that is about to be emptied, which comes first in PATH
  python=$("$python" -c 'import sys; print(sys._base_executable)')
  echo "set-up: creating $1 from requirements.txt (once; some minutes)"
  mkdir -p "$place"
  empty_place
  "$python" -m venv "$place"
  "$place/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
  link_package
  touch "$place/ready"
}

remove() {
  [ -e "$1" ] || [ -L "$1" ] || return 0
  find_place "$1"
  empty_place
  rm "$place/$MARK"
  [ -L "$1" ] || rmdir "$place"
}

"$@"
