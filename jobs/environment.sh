# shellcheck shell=bash
# Sourced by the job scripts: finds the repository, the run and the Python of the site. Not run by itself.
#
# Sets repository, RUN_DIR and the command `python` (an array). Exits with 2 and a message if something is missing;
# whatever a sub-job prints is in its log.

fail() {
    printf '%s: %s\n' "${PBS_JOBNAME:-jobs}" "$1" >&2
    exit 2
}

# pasted SCRIPT [ARGUMENT...]: the words of a command that works from any folder; SCRIPT is a path in the repository.
pasted() {
    printf '%q' "$repository/$1"
    shift
    [[ $# == 0 ]] || printf ' %q' "$@"
}

# PBS runs a copy of the script in its spool folder, so the path of the script is of no use.
find_repository() {
    local place
    for place in "${REPOSITORY:-}" "${PBS_O_WORKDIR:-$PWD}" "${PBS_O_WORKDIR:-$PWD}/.."; do
        if [[ -n $place && -f $place/jobs/environment.sh && -f $place/run_point.py ]]; then
            repository=$(cd "$place" && pwd)
            return
        fi
    done
    fail "no repository in ${PBS_O_WORKDIR:-$PWD}; expected qsub to be called in the folder that contains run_point.py, or -v REPOSITORY=/its/path"
}

# RUN_DIR as given, else the newest run. A sub-job that starts a week later must use the run that the first one used,
# whatever was made since then: the first one writes the number of the array into the run.
find_run() {
    local job mark index newest='' LC_ALL=C
    if [[ -n ${RUN_DIR:-} ]]; then
        [[ $RUN_DIR == /* ]] || RUN_DIR="${PBS_O_WORKDIR:-$PWD}/$RUN_DIR"
        [[ -d $RUN_DIR ]] || fail "RUN_DIR=$RUN_DIR is not a folder on $(hostname); expected a run that make_grid.py made, on a file system that the nodes share"
        return
    fi
    job=${PBS_JOBID:-}
    job=${job%%[!0-9]*}
    for mark in "$repository"/hyperparameter_optimization_*/logs/.array_"$job"; do
        if [[ -n $job && -e $mark ]]; then
            RUN_DIR=${mark%/logs/*}
            return
        fi
    done
    # The names contain the time, so the last one in order is the newest; bytes in order, so that NAME_2 follows NAME.
    for index in "$repository"/hyperparameter_optimization_*/index.csv; do
        [[ -e $index ]] && newest=${index%/index.csv}
    done
    [[ -n $newest ]] || fail "no run in $repository; make one with: python $(pasted make_grid.py), or give it: qsub -v RUN_DIR=/its/path ..."
    RUN_DIR=$newest
    if [[ -n ${PBS_ARRAY_INDEX:-} && -n $job ]]; then
        mkdir -p "$RUN_DIR/logs" && : > "$RUN_DIR/logs/.array_$job"
    fi
}

# The site block of the run's grid.yaml, as make_grid.py and jobs.submit wrote it.
read_site() {
    SITE_MODULES='' SITE_CONTAINER='' SITE_CONTAINER_COMMAND=singularity SITE_CONTAINER_BINDS='' SITE_ENVIRONMENT=''
    SITE_NGPUS=1
    # shellcheck disable=SC2034 # for verify_setup.sh
    SITE_QUEUE=''
    if [[ -n ${RUN_DIR:-} && -f $RUN_DIR/site.sh ]]; then
        # shellcheck disable=SC1091 # made for each run
        source "$RUN_DIR/site.sh"
    fi
    [[ -z $SITE_ENVIRONMENT || $SITE_ENVIRONMENT == /* || $SITE_ENVIRONMENT == '~'* ]] || SITE_ENVIRONMENT="$repository/$SITE_ENVIRONMENT"
    SITE_ENVIRONMENT=${SITE_ENVIRONMENT/#\~/$HOME}
    SITE_CONTAINER=${SITE_CONTAINER/#\~/$HOME}
    if [[ -z $SITE_ENVIRONMENT ]]; then
        if [[ -n $SITE_CONTAINER ]]; then
            SITE_ENVIRONMENT="$repository/.venv-container"
        elif [[ -x $repository/.venv/bin/python ]]; then
            SITE_ENVIRONMENT="$repository/.venv"
        fi
    fi
}

# WALLTIME_SECONDS, from which a point knows when to stop: set by jobs.submit, else from the record of the scheduler,
# which is asked once. Without either, run_point.py uses the walltime of the site block.
find_walltime() {
    local line
    [[ -z ${WALLTIME_SECONDS:-} && -n ${PBS_JOBID:-} ]] || return 0
    command -v qstat > /dev/null || return 0
    line=$(timeout 30 qstat -f "$PBS_JOBID" 2> /dev/null | grep -E '^ *Resource_List\.walltime = ' | head -n 1) || return 0
    if [[ $line =~ ([0-9]+):([0-9]+):([0-9]+)$ ]]; then
        WALLTIME_SECONDS=$((10#${BASH_REMATCH[1]} * 3600 + 10#${BASH_REMATCH[2]} * 60 + 10#${BASH_REMATCH[3]}))
        export WALLTIME_SECONDS
    fi
}

load_modules() {
    local name
    [[ -n $SITE_MODULES ]] || return 0
    # A shell that is not a login shell may not have `module` yet, and its code fails under `set -u`.
    set +eu
    if ! type module > /dev/null 2>&1; then
        for name in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh; do
            # shellcheck disable=SC1090 # whichever file the site has
            [[ -r $name ]] && source "$name"
        done
    fi
    if ! type module > /dev/null 2>&1; then
        set -eu
        fail "the site block names the modules $SITE_MODULES, but $(hostname) has no module command; expected modules: null"
    fi
    for name in $SITE_MODULES; do
        if ! module load "$name"; then
            set -eu
            fail "module load $name failed; see the available ones with: module avail"
        fi
    done
    set -eu
}

# Sets `python`: the command line of the site's Python, inside the container if there is one.
choose_python() {
    local gpu=()
    python=()
    unset PYTHONSAFEPATH # it keeps python -m from finding jobs
    load_modules
    if [[ -n $SITE_CONTAINER ]]; then
        [[ -f $SITE_CONTAINER || -d $SITE_CONTAINER ]] || fail "the container $SITE_CONTAINER does not exist on $(hostname); expected its path as container: in the site block of grid.yaml"
        if ! command -v "$SITE_CONTAINER_COMMAND" > /dev/null; then
            fail "$SITE_CONTAINER_COMMAND is not on PATH on $(hostname); expected its module in modules:, or singularity or apptainer as container_command:, in the site block"
        fi
        [[ $SITE_NGPUS == 0 ]] || gpu=(--nv)
        python=("$SITE_CONTAINER_COMMAND" exec "${gpu[@]}" --bind "$repository" --bind "${RUN_DIR:-$repository}")
        [[ -z $SITE_CONTAINER_BINDS ]] || python+=(--bind "$SITE_CONTAINER_BINDS")
        # The python of the environment is a link that is valid only inside the container.
        [[ -d $SITE_ENVIRONMENT ]] || fail "the environment $SITE_ENVIRONMENT for the container does not exist; make it once, on the login node: bash $(pasted jobs/make_environment.sh ${RUN_DIR:+"$RUN_DIR"})"
        [[ $SITE_ENVIRONMENT == "$repository"/* ]] || python+=(--bind "$SITE_ENVIRONMENT")
        python+=("$SITE_CONTAINER" "$SITE_ENVIRONMENT/bin/python")
    elif [[ -n $SITE_ENVIRONMENT ]]; then
        [[ -x $SITE_ENVIRONMENT/bin/python ]] || fail "the environment $SITE_ENVIRONMENT has no bin/python on $(hostname); expected environment: in the site block to name one that the nodes see"
        export PATH="$SITE_ENVIRONMENT/bin:$PATH"
        python=("$SITE_ENVIRONMENT/bin/python")
    else
        command -v python3 > /dev/null || fail "no python3 on PATH and no $repository/.venv; make one with: bash $(pasted jobs/make_environment.sh)"
        python=(python3)
    fi
}
