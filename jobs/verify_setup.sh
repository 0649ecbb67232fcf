#!/bin/bash
# Checks this machine before a search is submitted: bash jobs/verify_setup.sh [RUN]
# One line per check: ok, warning or FAILURE with its remedy. RUN (or the newest run) provides site, data and file system.
# On the login node it compares the run with queue and nodes, and prints the qsub line that runs it inside a job, where it
# sees what the nodes see (GPU, container, file system). By hand, in the repository's folder:
#   qsub -v RUN_DIR=/path/of/the/run jobs/verify_setup.sh
# Exit codes: 0 no failure (perhaps warnings), 1 at least one failure.
#PBS -N unet_verify
#PBS -l select=1:ncpus=8:ngpus=1:mem=32gb
#PBS -l walltime=00:10:00
#PBS -j oe
#PBS -r n
set -euo pipefail

failures=0
say() {
    printf '%-8s %s\n' "$1" "$2"
    [[ $1 != FAILURE ]] || failures=$((failures + 1))
}
# PBS runs a copy of this script in its spool folder.
if [[ ${REPOSITORY:-} == file://* ]]; then # a path that qsub would change is passed as a URL
    REPOSITORY=${REPOSITORY#file://}
    printf -v REPOSITORY '%b' "${REPOSITORY//%/\\x}"
fi
for folder in "$(dirname "${BASH_SOURCE[0]}")/.." "${REPOSITORY:-}" "${PBS_O_WORKDIR:-$PWD}" "${PBS_O_WORKDIR:-$PWD}/.."; do
    if [[ -n $folder && -f $folder/jobs/environment.sh ]]; then
        REPOSITORY=$(cd "$folder" && pwd)
        # shellcheck source=jobs/environment.sh
        source "$folder/jobs/environment.sh"
        break
    fi
done
if ! declare -F find_repository > /dev/null; then
    say FAILURE "repository: no jobs/environment.sh in ${PBS_O_WORKDIR:-$PWD}; call qsub in the folder that contains run_point.py, or with -v REPOSITORY=/its/path"
    exit 1
fi
[[ -n ${PBS_JOBID:-} ]] || PBS_JOBNAME=verify_setup
find_repository

if [[ -n ${1:-} ]]; then
    if ! RUN_DIR=$(cd "$1" 2> /dev/null && pwd); then
        say FAILURE "run: $1 is not a folder; expected a run that make_grid.py made"
        exit 1
    fi
    say ok "run: $RUN_DIR"
elif ask_pbs && problem=$(find_run 2>&1); then
    find_run
    say ok "run: $RUN_DIR ($run_reason)"
elif [[ -n ${RUN_DIR:-} ]]; then
    say FAILURE "run: ${problem#*: }"
    exit 1
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

if [[ -n ${PBS_JOBID:-} ]]; then
    if find_pbs; then
        find_walltime
        walltime=${WALLTIME_SECONDS:-not known}
        say ok "PBS: job $PBS_JOBID on $(hostname), walltime in seconds: $walltime; $(command -v qstat)"
    else
        say warning "PBS: job $PBS_JOBID on $(hostname), which has no qstat on PATH, in PBS_EXEC or in /opt/pbs/bin: a walltime that qalter changed is not noticed, and a job that was submitted by hand needs -v RUN_DIR=..."
    fi
else
    missing=()
    for command in qsub qstat qdel qalter; do
        command -v "$command" > /dev/null || missing+=("$command")
    done
    if [[ ${#missing[@]} -gt 0 ]]; then
        remedy="log in to the login node, or load the site's PBS module (on one machine: cd $(printf %q "$repository") && python -m jobs.local RUN)"
        if find_pbs; then
            remedy="they are in $(dirname "$(command -v qstat)"), so write into ~/.bashrc: export PATH=\"\$PATH:$(dirname "$(command -v qstat)")\""
        fi
        say FAILURE "PBS: not on PATH: ${missing[*]}; $remedy"
    fi
    if command -v qstat > /dev/null; then
        if answer=$(timeout 60 qstat -B 2>&1); then
            say ok "PBS: the server answers"
        else
            say FAILURE "PBS: qstat -B says: $(tr '\n' ' ' <<< "$answer")"
        fi
    fi
fi

if problem=$(choose_python 2>&1); then
    choose_python
    code=0
    cd "$repository"
    options=()
    if [[ -n $SITE_CONTAINER && -z ${PBS_JOBID:-} ]] && command -v qstat > /dev/null; then
        # The container has no PBS commands, and sees this folder.
        answers=$(mktemp -d "${RUN_DIR:-$repository}/.verify_XXXXXX")
        trap 'rm -rf "$answers"' EXIT
        timeout 60 qstat -Bf -F json > "$answers/server" 2> /dev/null || true
        timeout 60 qstat -Qf -F json > "$answers/queues" 2> /dev/null || true
        timeout 60 pbsnodes -av -F json > "$answers/nodes" 2> /dev/null || true
        options=(--answers "$answers")
    fi
    "${python[@]}" -m jobs.verify ${RUN_DIR:+"$RUN_DIR"} "${options[@]}" || code=$?
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
