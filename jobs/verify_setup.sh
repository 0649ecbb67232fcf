#!/bin/bash
# Checks this machine before a search is submitted: bash jobs/verify_setup.sh [RUN]
# One line per check: ok, warning or FAILURE with its remedy. RUN (or the newest run) provides site, data and file system.
# Run it on the login node, and once inside a job, where it sees what the nodes see (GPU, container, file system).
# Exit codes: 0 no failure (perhaps warnings), 1 at least one failure.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
REPOSITORY=$here
PBS_JOBNAME=verify_setup
failures=0
say() {
    printf '%-8s %s\n' "$1" "$2"
    [[ $1 != FAILURE ]] || failures=$((failures + 1))
}
# shellcheck source=jobs/environment.sh
source "$here/jobs/environment.sh"
find_repository

if [[ -n ${1:-} ]]; then
    if ! RUN_DIR=$(cd "$1" 2> /dev/null && pwd); then
        say FAILURE "run: $1 is not a folder; expected a run that make_grid.py made"
        exit 1
    fi
    say ok "run: $RUN_DIR"
elif problem=$(find_run 2>&1); then
    find_run
    say ok "run: $RUN_DIR (the newest)"
else
    RUN_DIR=
    say warning "run: none yet, so data, site and its file system are not checked; make one with: python $(pasted make_grid.py)"
fi

read_site
if [[ -n $SITE_CONTAINER ]]; then
    if [[ -e $SITE_CONTAINER ]]; then
        say ok "container: $SITE_CONTAINER"
    else
        say FAILURE "container: $SITE_CONTAINER does not exist; find it with ls, and write its path as container: in the site block"
    fi
else
    say ok "container: none configured; Python comes from ${SITE_ENVIRONMENT:-PATH}"
fi

for command in qsub qstat qdel qalter; do
    if ! command -v "$command" > /dev/null; then
        say FAILURE "PBS: $command is not on PATH; log in to the login node, or load the site's PBS module (on one machine: cd $(printf %q "$repository") && python -m jobs.local RUN)"
    fi
done
if command -v qstat > /dev/null; then
    if answer=$(timeout 60 qstat -B 2>&1); then
        say ok "PBS: the server answers"
    else
        say FAILURE "PBS: qstat -B says: $(tr '\n' ' ' <<< "$answer")"
    fi
fi
if [[ -n ${SITE_QUEUE:-} ]] && command -v qstat > /dev/null; then
    if answer=$(timeout 60 qstat -Q "$SITE_QUEUE" 2>&1); then
        say ok "queue: $SITE_QUEUE"
    else
        say FAILURE "queue: $SITE_QUEUE: $(tr '\n' ' ' <<< "$answer"); see the queues with: qstat -Q"
    fi
elif command -v qstat > /dev/null; then
    say ok "queue: the server's default (queue: null)"
fi

if problem=$(choose_python 2>&1); then
    choose_python
    code=0
    cd "$repository"
    "${python[@]}" -m jobs.verify ${RUN_DIR:+"$RUN_DIR"} || code=$?
    # 0 and 1 are its own exit codes; anything else means that it could not start.
    case $code in
        0) ;;
        1) failures=$((failures + 1)) ;;
        *) say FAILURE "Python: ${python[*]} exited with $code" ;;
    esac
else
    say FAILURE "Python: $problem"
fi

if ((failures)); then
    echo "there are failures: fix them before you submit"
    exit 1
fi
echo "ready"
