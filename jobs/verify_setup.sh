#!/bin/bash
# Checks this machine before a search is submitted: bash jobs/verify_setup.sh [--trust] [RUN]
# One line per check: ok, warning or FAILURE with its remedy. RUN (or the newest run) provides site, data and file system.
# On the login node it compares the run with queue and nodes, and prints the qsub line that runs it inside a job, where it
# sees what the nodes see (GPU, container, file system). By hand, in the repository's folder:
#   qsub -v RUN_DIR=/path/of/the/run jobs/verify_setup.sh
# --trust: start the programs that the site file of RUN names, although others can have written it.
# Exit codes: 0 no failure (perhaps warnings), 1 at least one failure.
#PBS -N unet_verify
#PBS -l select=1:ncpus=8:ngpus=1:mem=32gb
#PBS -l walltime=00:10:00
#PBS -j oe
#PBS -r n
set -euo pipefail

failures=0
say() {
    local text=$2
    ! declare -F plain > /dev/null || plain text "$2"
    printf '%-8s %s\n' "$1" "$text"
    [[ $1 != FAILURE ]] || failures=$((failures + 1))
}
# PBS runs a copy of this script. The repository is where jobs.submit says, otherwise the folder in which qsub was called; that
# may be any folder, so that nothing in it is used which a stranger may have written.
# shared_group FOLDER: the number of the group that shares FOLDER (chmod g+ws), if this user is in it and others cannot write.
shared_group() {
    local group mode
    IFS=: read -r group mode < <(stat -c '%g:%a' -- "$1/." 2> /dev/null) || return 0
    if [[ $((8#$mode & 8#2022)) == $((8#2020)) && " $(id -G) " == *" $group "* ]]; then
        printf '%s' "$group"
    fi
}

# why_not PATH FOLDER: why a stranger may have written PATH, which is FOLDER or in it; nothing if none can have. What belongs
# to this user or to root is theirs. In a folder that a group of this user shares it is its members' as well.
why_not() {
    local owner_id group_id mode owner group shared
    shared=$(shared_group "$2")
    if ! IFS=: read -r owner_id group_id mode owner group < <(stat -c '%u:%g:%a:%U:%G' -- "$1" 2> /dev/null); then
        printf 'it cannot be read'
    elif [[ -L $1 ]]; then
        printf 'it is a link'
    elif ((8#$mode & 8#0002)); then
        printf 'anyone may write it'
    elif [[ -z $shared && $owner_id != 0 && $owner_id != "$(id -u)" ]]; then
        printf 'it belongs to %s' "$owner"
    elif ((8#$mode & 8#0020)) && [[ $group_id != 0 && $group_id != "$shared" && $group != "$(id -un)" ]]; then
        printf 'the group %s may write it' "$group"
    fi
}
folder=${REPOSITORY:-}
here=$(dirname "${BASH_SOURCE[0]}")
[[ ! -f $here/environment.sh ]] || folder=$here/.. # this is no copy
if [[ $folder == file://* ]]; then # a path that qsub would change is passed as a URL
    folder=${folder#file://}
    printf -v folder '%b' "${folder//%/\\x}"
fi
problem=''
if [[ -z $folder ]]; then
    folder=${PBS_O_WORKDIR:-$PWD}
    for part in /. /jobs /jobs/environment.sh; do
        if [[ -f $folder/jobs/environment.sh && -z $problem ]]; then
            problem=$(why_not "$folder$part" "$folder")
            # A copy in the project folder of a group, which its members may not all write themselves.
            [[ -z $problem ]] || problem=$(why_not "$folder$part" "$(dirname -- "$folder")")
            problem=${problem:+"$folder${part%/.} is not used, because $problem"}
        fi
    done
fi
if [[ -z $problem && ! -f $folder/jobs/environment.sh ]]; then
    problem="no jobs/environment.sh in $folder"
fi
if [[ -n $problem ]]; then
    say FAILURE "repository: ${problem//[[:cntrl:]]/?}; call qsub in the folder that contains run_point.py, which is yours or your group's, or with -v REPOSITORY=/its/path"
    exit 1
fi
REPOSITORY=$(CDPATH='' cd -- "$folder" && pwd)
# shellcheck source=jobs/environment.sh
source "$folder/jobs/environment.sh"
[[ -n ${PBS_JOBID:-} ]] || PBS_JOBNAME=verify_setup
find_repository

# shellcheck disable=SC2034 # for read_site
site_trust="bash $(pasted jobs/verify_setup.sh --trust) RUN, in a job qsub -v TRUST=yes,RUN_DIR=... ..."
if [[ ${1:-} == --trust ]]; then
    TRUST=yes
    shift
fi
if [[ -n ${1:-} ]]; then
    if ! RUN_DIR=$(CDPATH='' cd -- "$1" 2> /dev/null && pwd); then
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

if ! problem=$(read_site 2>&1); then
    say FAILURE "site: ${problem#*: }"
    exit 1
fi
read_site
if [[ -n $SITE_CONTAINER ]]; then
    if [[ -e $SITE_CONTAINER ]]; then
        say ok "container: $written_container"
    else
        say FAILURE "container: $written_container does not exist; find it with ls, and write its path as container: in the site block"
    fi
else
    say ok "container: none configured; Python comes from ${written_environment:-PATH}"
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
