# shellcheck shell=bash
# Sourced by the job scripts: finds the repository, the run and the Python of the site. Not run by itself.
#
# Sets repository, RUN_DIR (with run_reason: why this run) and the command `python` (an array). Exits with 2 and a
# message if something is missing; whatever a sub-job prints is in its log. It is one long file because a script must
# find it before it knows where the repository is.

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

# PBS's commands: inside a job they may not be on PATH. Returns 1 where they are nowhere.
find_pbs() {
    local place conf=${PBS_CONF_FILE:-/etc/pbs.conf} configured=''
    ! command -v qstat > /dev/null || return 0
    if [[ -r $conf ]]; then
        configured=$(sed -n "s/^[[:space:]]*PBS_EXEC=[\"']\{0,1\}\([^\"']*\).*/\1/p" "$conf" | tail -n 1)
    fi
    for place in "${PBS_EXEC:-}" "$configured" /opt/pbs; do
        if [[ $place == /* && -x $place/bin/qstat ]]; then
            export PATH="$PATH:$place/bin"
            return 0
        fi
    done
    return 1
}

# pbs_record: what PBS has on record about this job and its array. It is asked once, and not for long: many sub-jobs may
# start at the same time. pbs_problem is empty, or why there is no record.
pbs_asked=''
pbs_record=''
pbs_problem=''
ask_pbs() {
    local ids=("${PBS_JOBID:-}")
    [[ -z $pbs_asked ]] || return 0
    pbs_asked=yes
    if [[ -z ${PBS_JOBID:-} ]]; then
        pbs_problem='this is not a PBS job'
    elif ! find_pbs; then
        pbs_problem="there is no qstat on PATH, in PBS_EXEC or in /opt/pbs/bin on $(hostname)"
    else
        [[ $PBS_JOBID != *\[*\]* ]] || ids+=("${PBS_JOBID/\[*\]/[]}")
        pbs_record=$(printed_by_pbs -f "${ids[@]}")
        [[ $pbs_record == *'Job Id: '* ]] || pbs_problem="qstat -f $PBS_JOBID did not answer"
    fi
}

# What qstat prints, each attribute on one line.
printed_by_pbs() {
    local text
    text=$(timeout 20 qstat "$@" 2> /dev/null) || true
    printf '%s\n' "${text//$'\n\t'/}"
}

# The attribute $3 of the job with the id $2 in the text $1 that qstat printed; nothing if it is not there.
attribute() {
    local line current=''
    while IFS= read -r line; do
        if [[ $line == 'Job Id: '* ]]; then
            current=${line#Job Id: }
            current=${current%%.*}
        elif [[ $current == "${2%%.*}" && $line =~ ^[[:space:]]+"$3 = "(.*)$ ]]; then
            printf '%s\n' "${BASH_REMATCH[1]}"
            return
        fi
    done <<< "$1"
}

# The value of the variable $2 in the Variable_List $1, in which commas and backslashes of a value follow a backslash.
variable() {
    local pattern="(^|,)$2=(([^,\\\\]|\\\\.)*)" rest value=''
    [[ $1 =~ $pattern ]] || return 0
    rest=${BASH_REMATCH[2]}
    while [[ $rest == *\\* ]]; do
        value+=${rest%%\\*}
        rest=${rest#*\\}
        value+=${rest:0:1}
        rest=${rest:1}
    done
    printf '%s\n' "$value$rest"
}

# When the job $2 was submitted, in seconds since 1970, as the text $1 says; nothing if it does not. A sub-job has the time of
# its array. A time without a zone is that of this machine, as qstat printed it here.
submitted_at() {
    local id time
    for id in "${2/\[*\]/[]}" "$2"; do
        time=$(attribute "$1" "$id" ctime)
        [[ -n $time ]] || time=$(attribute "$1" "$id" qtime)
        if [[ -n $time ]] && LC_ALL=C date -d "$time" +%s 2> /dev/null; then
            return
        fi
    done
}

in_utc() {
    date -u -d "@$1" '+%Y-%m-%dT%H:%M:%S'
}

# When a run was made, in UTC: from its record; in an older run from its name, which contains the local time.
made_at() {
    local record='' name=${1##*/hyperparameter_optimization_}
    [[ ! -r $1/provenance.json ]] || record=$(< "$1/provenance.json")
    if [[ $record =~ \"made\":\ *\"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}) ]]; then
        printf '%s\n' "${BASH_REMATCH[1]}"
    elif [[ $name =~ ^([0-9]{8})_([0-9]{2})([0-9]{2})([0-9]{2}) ]] && in_utc "$(
        date -d "${BASH_REMATCH[1]} ${BASH_REMATCH[2]}:${BASH_REMATCH[3]}:${BASH_REMATCH[4]}" +%s 2> /dev/null
    )" 2> /dev/null; then
        :
    else
        in_utc "$(stat -c %Y "$1/index.csv")"
    fi
}

# Sets newest: the newest of the complete runs that had been made at $1 (seconds since 1970; empty: now), or nothing. Sets
# first and first_made: the oldest run and its time. ISO times are in order as texts, so no process is started for each run.
newest_run() {
    local index run made started latest='9999-12-31' tolerated='9999-12-31' newest_made='' LC_ALL=C
    newest='' first='' first_made=''
    if [[ -n $1 ]]; then
        latest=$(in_utc "$1")
        tolerated=$(in_utc "$(($1 + 5))")
    fi
    for index in "$repository"/hyperparameter_optimization_*/index.csv; do
        [[ -e $index ]] || continue
        run=${index%/index.csv}
        made=$(made_at "$run")
        if [[ -z $first_made || $made < $first_made ]]; then
            first=$run first_made=$made
        fi
        if [[ $made > $latest ]]; then
            # The clock of the login node may be ahead of PBS's: a run that make_grid.py had begun when the job was
            # submitted, and finished a few seconds later, was finished before.
            [[ ! $made > $tolerated ]] || continue
            started=$(stat -c %Y "$run/.make_grid.lock" 2> /dev/null || echo "$1")
            ((started < $1)) || continue
        fi
        # Of two runs of the same second, the one that was finished last; names end in _2, _3 then.
        if [[ $made > $newest_made || ($made == "$newest_made" && ! $newest/index.csv -nt $index) ]]; then
            newest=$run newest_made=$made
        fi
    done
}

# Sets RUN_DIR to the newest run as of the time $1 (empty: now), at which $2 was submitted, and run_reason.
take_newest_run() {
    newest_run "$1"
    [[ -n $first ]] || fail "no run in $repository; make one with: python $(pasted make_grid.py), or give it: qsub -v RUN_DIR=/its/path ..."
    if [[ -z $newest && $first_made < $(in_utc "$(($1 + 60))") ]]; then
        newest=$first # made a moment after: of two clocks, one is wrong
    fi
    [[ -n $newest ]] || fail "no run in $repository had been made when $2 was submitted ($(in_utc "$1") UTC; the first, $first, was made at $first_made UTC); give the run: qsub -v RUN_DIR=/its/path ..."
    RUN_DIR=$newest
    if [[ -n $1 ]]; then
        run_reason="the newest run when $2 was submitted, $(in_utc "$1") UTC"
    elif [[ -z ${PBS_JOBID:-} ]]; then
        run_reason='the newest run'
    else
        run_reason="the newest run now, because ${pbs_problem:-PBS does not say when $2 was submitted}"
    fi
}

# Prints the run in which a sub-job of array $1 left its mark. $2: when the array was submitted, if that is known. The
# number of an array is used again after years, or by another server: a mark that is older, or names another id, is not its.
marked_run() {
    local mark run='' id number=${1%%[!0-9]*}
    for mark in "$repository"/hyperparameter_optimization_*/logs/.array_"$number"; do
        [[ -n $number && -f $mark ]] || continue
        id=''
        [[ ! -r $mark ]] || id=$(< "$mark")
        [[ -z $id || ${id%%@*} == "${1%%@*}" ]] || continue
        [[ -z $2 || $(stat -c %Y "$mark") -ge $(($2 - 60)) ]] || continue
        if [[ -z $run || $mark -nt $run/logs/.array_$number ]]; then
            run=${mark%/logs/*}
        fi
    done
    [[ -z $run ]] || printf '%s\n' "$run"
}

# A sub-job writes the id of its array into its run, for sub-jobs and a collect job that cannot ask PBS.
mark_run() {
    local array=${PBS_ARRAY_ID:-${PBS_JOBID:-}} mark
    array=${array/\[*\]/[]}
    mark=$RUN_DIR/logs/.array_${array%%[!0-9]*}
    [[ -n ${PBS_ARRAY_INDEX:-} && $array == [0-9]*\[\]* ]] || return 0
    if [[ $(cat "$mark" 2> /dev/null) != "$array" ]]; then
        mkdir -p "$RUN_DIR/logs" 2> /dev/null && echo "$array" 2> /dev/null > "$mark.$$" && mv -f "$mark.$$" "$mark" || true
    fi
}

# Sets the variable $1 to the path $2, which jobs.submit writes as a URL file:// where qsub would change it.
read_path() {
    local path=$2
    if [[ $path == file://* ]]; then
        path=${path#file://}
        printf -v path '%b' "${path//%/\\x}"
    fi
    printf -v "$1" '%s' "$path"
}

given_run() {
    [[ -n ${RUN_DIR:-} ]] || return 1
    read_path RUN_DIR "$RUN_DIR"
    [[ $RUN_DIR == /* ]] || RUN_DIR="${PBS_O_WORKDIR:-$PWD}/$RUN_DIR"
    [[ -d $RUN_DIR ]] || fail "RUN_DIR=$RUN_DIR is not a folder on $(hostname); expected a run that make_grid.py made, on a file system that the nodes share"
    run_reason='given as RUN_DIR'
}

# Sets RUN_DIR and run_reason: the run as given, else the newest run when the job was submitted. It may start a week later,
# when there are newer ones.
find_run() {
    local array='' since
    ! given_run || return 0
    ask_pbs
    since=$(submitted_at "$pbs_record" "${PBS_JOBID:-}")
    [[ ${PBS_JOBID:-} != *\[*\]* ]] || array=${PBS_JOBID/\[*\]/[]}
    [[ -z $array ]] || RUN_DIR=$(marked_run "$array" "$since")
    if [[ -n ${RUN_DIR:-} ]]; then
        run_reason="the run of array $array, as its first sub-job noted"
    else
        take_newest_run "$since" "${array:-${PBS_JOBID:-it}}"
    fi
}

# The ids that a job waits for, or waited for, one a line: PBS removes `depend` when the job starts, and keeps the arguments
# of qsub. $1: what qstat printed.
waited_for() {
    local text word after='' words pattern='depend=([^[:space:]"'"'"'<]+)'
    text=$(attribute "$1" "$PBS_JOBID" depend)
    if [[ -z $text ]]; then
        text=$(attribute "$1" "$PBS_JOBID" Submit_arguments)
        [[ $text =~ $pattern ]] || return 0
        text=${BASH_REMATCH[1]}
    fi
    IFS=':,' read -r -a words <<< "$text"
    for word in "${words[@]}"; do
        if [[ $word == [0-9]* ]]; then
            [[ -z $after ]] || printf '%s\n' "${word%%@*}"
        else
            after=''
            [[ $word != after* ]] || after=yes
        fi
    done
}

# Prints the run of the job or array $2; nothing if it is not known. $1: what qstat printed about it. In this order: what it
# was given, what it noted, what jobs.submit noted, and for an array the newest run when it was submitted.
run_of_job() {
    local variables run since record repository=$repository place where
    variables=$(attribute "$1" "$2" Variable_List)
    read_path run "$(variable "$variables" RUN_DIR)"
    if [[ -n $run ]]; then
        [[ $run == /* ]] || run=$(variable "$variables" PBS_O_WORKDIR)/$run
        printf '%s\n' "$run"
        return
    fi
    # It may have been submitted in another copy of the repository.
    where=$(variable "$variables" PBS_O_WORKDIR)
    [[ -z $where ]] || repository=''
    for place in "$(variable "$variables" REPOSITORY)" "$where" "$where/.."; do
        if [[ $place == /*[!/.]* && -f $place/jobs/environment.sh && -f $place/run_point.py ]]; then
            repository=$(cd "$place" && pwd)
            break
        fi
    done
    [[ -n $repository ]] || return 0
    since=$(submitted_at "$1" "$2")
    run=$(marked_run "$2" "$since")
    if [[ -z $run && -z $since ]]; then # PBS does not know the job any more
        for record in "$repository"/hyperparameter_optimization_*/submissions.json; do
            [[ ! -f $record ]] || ! grep -qF "\"${2%%.*}." "$record" || run=${record%/submissions.json}
        done
    elif [[ -z $run && $2 == *\[\]* ]]; then
        newest_run "$since"
        run=$newest
    fi
    [[ -z $run ]] || printf '%s\n' "$run"
}

# Sets RUN_DIR and run_reason for a collect job: the run as given, else that of the array it waited for, never another one.
find_collected_run() {
    local ids=() id run known runs='' give="give it: qsub -v RUN_DIR=/its/path ... jobs/collect.pbs"
    ! given_run || return 0
    ask_pbs
    while IFS= read -r id; do
        [[ -z $id ]] || ids+=("$id")
    done <<< "$([[ -z $pbs_record ]] || waited_for "$pbs_record")"
    if [[ ${#ids[@]} == 0 ]]; then
        find_run
        if [[ -z $(attribute "$pbs_record" "${PBS_JOBID:-}" Submit_arguments) && -n ${PBS_JOBID:-} ]]; then
            run_reason+="; what this job waited for is not known: if it was an array of another run, $give"
        fi
        return
    fi
    known=$(printed_by_pbs -xf "${ids[@]}")
    # Without history, PBS refuses -x, and knows only what has not ended.
    [[ $known == *'Job Id: '* ]] || known=$(printed_by_pbs -f "${ids[@]}")
    for id in "${ids[@]}"; do
        run=$(run_of_job "$known" "$id")
        [[ -n $run ]] || fail "the run of $id, for which this job waited, is not known; $give"
        if [[ -z $runs ]]; then
            runs=$run
        elif [[ $run != "$runs" ]]; then
            fail "this job waited for jobs of different runs, $runs and $run; expected one run: $give"
        fi
    done
    [[ -d $runs ]] || fail "the run $runs of ${ids[*]}, for which this job waited, is not a folder on $(hostname); $give"
    RUN_DIR=$runs
    run_reason="the run of ${ids[*]}, for which this job waited"
}

# The site block of the run's grid.yaml, as make_grid.py and jobs.submit wrote it.
read_site() {
    SITE_MODULES='' SITE_CONTAINER='' SITE_CONTAINER_COMMAND=singularity SITE_CONTAINER_BINDS='' SITE_ENVIRONMENT=''
    SITE_NGPUS=1 SITE_UMASK=''
    # shellcheck disable=SC2034 # for verify_setup.sh
    SITE_QUEUE=''
    if [[ -n ${RUN_DIR:-} && -f $RUN_DIR/site.sh ]]; then
        # shellcheck disable=SC1091 # made for each run
        source "$RUN_DIR/site.sh"
    fi
    [[ -z $SITE_UMASK ]] || umask "$SITE_UMASK" # PBS runs jobs with 077
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

# WALLTIME_SECONDS, from which a point knows when to stop: from PBS's record, because qalter may have changed what was
# requested; else as jobs.submit set it. Without either, run_point.py uses the walltime of the site block.
find_walltime() {
    local time
    [[ -n ${PBS_JOBID:-} ]] || return 0
    ask_pbs
    time=$(attribute "$pbs_record" "$PBS_JOBID" Resource_List.walltime)
    [[ -n $time ]] || time=$(attribute "$pbs_record" "${PBS_JOBID/\[*\]/[]}" Resource_List.walltime)
    if [[ $time =~ ^([0-9]+):([0-9]+):([0-9]+)$ ]]; then
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
