# shellcheck shell=bash
# Sourced by the job scripts: finds the repository, the run and the Python of the site. Not run by itself.
#
# Sets repository, RUN_DIR (with run_reason: why this run) and the command `python` (an array). Exits with 2 and a
# message if something is missing; whatever a sub-job prints is in its log. It is one long file because a script must
# find it before it knows where the repository is.

fail() {
    local text
    plain text "${PBS_JOBNAME:-jobs}: $1"
    printf '%s\n' "$text" >&2
    exit 2
}

# plain NAME TEXT: sets the variable NAME to TEXT as one line that controls no terminal. Names and files may be from anyone:
# a text with control characters, or with characters that turn the direction of a line, is shown as bash would write it.
plain() {
    local LC_ALL=C value=${2//[$'\n\t']/ }
    local hidden=$'[\001-\037\177]|\302[\200-\237]|\342\200[\213-\217\250-\256]|\342\201[\240-\257]|\357\273\277'
    [[ ! $value =~ $hidden ]] || printf -v value '%q' "$value"
    printf -v "$1" '%s' "$value"
}

show() {
    local text
    plain text "$1"
    printf '%s\n' "$text"
}

# content FILE BYTES: prints FILE; fails if it is a link or no file, such as a named pipe that would never end, or larger.
# NUL, which no variable can contain, becomes a control character.
content() {
    local text
    [[ -f $1 && ! -L $1 ]] || return 1
    text=$(dd if="$1" iflag=nofollow,nonblock bs=65536 count=$(($2 / 65536 + 1)) 2> /dev/null | tr '\0' '\001') || return 1
    local LC_ALL=C
    [[ ${#text} -le $2 ]] || return 1
    printf '%s' "$text"
}

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

# pasted SCRIPT [ARGUMENT...]: the words of a command that works from any folder; SCRIPT is a path in the repository.
pasted() {
    printf '%q' "$repository/$1"
    shift
    [[ $# == 0 ]] || printf ' %q' "$@"
}

# PBS runs a copy of the script in its spool folder, so the path of the script is of no use.
find_repository() {
    local place=${REPOSITORY:-${PBS_O_WORKDIR:-$PWD}}
    if [[ -f $place/jobs/environment.sh && -f $place/run_point.py ]]; then
        repository=$(cd "$place" && pwd)
        return
    fi
    fail "no repository in $place; expected qsub to be called in the folder that contains run_point.py, or -v REPOSITORY=/its/path"
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
    record=$(content "$1/provenance.json" 1048576) || record=''
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
        [[ -n $number && -f $mark && ! -L $mark && ! -L ${mark%/*} ]] || continue
        id=$(content "$mark" 4096) || continue
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
    mark=.array_${array%%[!0-9]*}
    [[ -n ${PBS_ARRAY_INDEX:-} && $array == [0-9]*\[\]* ]] || return 0
    if [[ $(content "$RUN_DIR/logs/$mark" 4096) != "$array" ]]; then
        write_mark "$mark" "$array" 2> /dev/null || true
    fi
}

# Writes the text $2 to logs/$1 of the run. The folder is entered first, and then it must be the real one: whoever exchanges it
# for a link afterwards changes nothing. The new file is made as one that was not there, and replaces a link, not its target.
write_mark() (
    set -o noclobber
    CDPATH=''
    cd -P -- "$RUN_DIR" || exit
    root=$PWD new=$1.$$.$RANDOM
    [[ -e logs || -L logs ]] || mkdir logs
    cd -P -- logs || exit
    [[ $PWD == "${root%/}/logs" ]] || exit
    printf '%s\n' "$2" > "$new" || exit
    mv -f -T -- "$new" "$1" || rm -f -- "$new"
)

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
    local variables run since record repository=$repository place where given
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
    read_path given "$(variable "$variables" REPOSITORY)"
    for place in "$given" "$where"; do
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
            # Not grep -q, which ends early: the pipe would have failed.
            ! content "$record" 67108864 | grep -F "\"${2%%.*}." > /dev/null || run=${record%/submissions.json}
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

# The form of each value that a job script takes from the site block, in the C locale. A value is never executed: paths are
# always quoted, and modules are words without a meaning to the shell.
declare -A site_forms=(
    [modules]='^[[:alnum:]_./+][[:alnum:]_./+-]*( +[[:alnum:]_./+][[:alnum:]_./+-]*)*$'
    [container]='^[^[:cntrl:]]+$'
    [container_command]='^(singularity|apptainer)$'
    [container_binds]='^[^[:cntrl:]]+$'
    [environment]='^[^[:cntrl:]]+$'
    [ngpus]='^[0-9]{1,6}$'
    [umask]='^0?0[0-7]{2}$'
    [queue]='^[[:alnum:]_.@][[:alnum:]_.@-]*$'
)

# Sets SITE_$1, for example SITE_MODULES, to $2; fails where $1 is no key, or $2 has not its form. $3: where it was found.
set_site() {
    local LC_ALL=C form=''
    [[ ! $1 =~ ^[a-z_]+$ ]] || form=${site_forms[$1]:-}
    [[ -n $form ]] || fail "$3: received the key $1, expected one of: ${!site_forms[*]}"
    [[ -z $2 || $2 =~ $form ]] || fail "$3: received $1=$2, which such a value never is; write the file anew: python -m jobs.submit RUN, or correct it"
    printf -v "SITE_${1^^}" '%s' "$2"
}

# The site block as jobs.submit passed it with qsub: key:value, joined by +, each value percent-encoded. A file of the run
# that was exchanged while the job waited has no effect.
take_given_site() {
    local pair value pairs pattern='^([[:alnum:]/._-]|%[0-9A-Fa-f]{2})*$'
    IFS=+ read -r -d '' -a pairs <<< "$SITE_BLOCK" || true
    for pair in "${pairs[@]}"; do
        pair=${pair%$'\n'}
        value=${pair#*:}
        [[ $value =~ $pattern ]] || fail "SITE_BLOCK: received $pair, expected key:value, percent-encoded as jobs.submit does it"
        printf -v value '%b' "${value//%/\\x}"
        set_site "${pair%%:*}" "$value" SITE_BLOCK
    done
}

# Who else made or extended the run, as its record says; nothing in a folder that a group of this user shares.
other_makers() {
    [[ -z $(shared_group "$RUN_DIR") ]] || return 0
    content "$RUN_DIR/provenance.json" 1048576 | grep -o '"user": "[^"\\]*"' |
        grep -Fvx -e "\"user\": \"$(id -un)\"" -e "\"user\": \"${LOGNAME:-unknown}\"" -e '"user": "unknown"' |
        sort -u | sed 's/^"user": //' | tr '\n' ' ' || true
}

# The site block from the file $1 of the run, whose lines are data: key=value in site.conf. An older run has site.sh, with lines
# such as SITE_MODULES='a b'.
take_site_file() {
    local problem text line value key rest number=0 old='' quote="'\"'\"'" single="'" bare='^[[:alnum:]_@%+=:,./-]*$'
    if [[ ${TRUST:-} != yes ]]; then
        problem=$(why_not "$RUN_DIR/." "$RUN_DIR")
        [[ -z $problem ]] || fail "$RUN_DIR: $problem, and its jobs start the programs that $1 names; $how_to_trust"
        problem=$(why_not "$RUN_DIR/$1" "$RUN_DIR")
        [[ -z $problem ]] || fail "$RUN_DIR/$1: $problem, and jobs start the programs that it names; $how_to_trust"
        problem=$(other_makers)
        [[ -z $problem ]] || fail "$RUN_DIR was made by ${problem% }, and jobs start the programs that $1 names; $how_to_trust"
    fi
    text=$(content "$RUN_DIR/$1" 65536) || fail "$RUN_DIR/$1 is a link, is no file, is larger than 64 KiB or cannot be read; expected the file that make_grid.py wrote. Write it anew: python -m jobs.submit RUN"
    [[ $1 != site.sh ]] || old=yes
    while IFS= read -r line; do
        number=$((number + 1))
        [[ -n $line && $line != '#'* ]] || continue
        key=${line%%=*}
        value=${line#*=}
        if [[ $line != *=* ]]; then
            key=''
        elif [[ -n $old ]]; then
            [[ $key == SITE_[A-Z]* ]] || key=''
            key=${key#SITE_}
            key=${key,,}
            if [[ $value == "'"*"'" && ${#value} -ge 2 ]]; then
                value=${value:1:${#value}-2}
                rest=${value//"$quote"/}
                value=${value//"$quote"/"$single"}
                [[ $rest != *"'"* ]] || key=''
            elif [[ ! $value =~ $bare ]]; then
                key=''
            fi
        fi
        [[ -n $key ]] || fail "$RUN_DIR/$1 line $number: received $line, expected one key and its value, as make_grid.py writes it: nothing in this file is executed. Write it anew: python -m jobs.submit RUN"
        set_site "$key" "$value" "$RUN_DIR/$1 line $number"
    done <<< "$text"
}

# Sets the variable $1 to the path $2, in which ~/, $NAME and ${NAME} are replaced; NAME is a variable of the environment.
# Nothing else has a meaning. $3: its key, for the message.
expand() {
    # shellcheck disable=SC2016,SC2088 # these are texts
    local rest=$2 whole='' name found home='~/' pattern='^([^$]*)\$(\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))(.*)$'
    if [[ $rest == "$home"* ]]; then
        whole=${HOME:-} rest=${rest:1}
    fi
    while [[ $rest =~ $pattern ]]; do
        name=${BASH_REMATCH[3]}${BASH_REMATCH[4]}
        whole+=${BASH_REMATCH[1]}
        rest=${BASH_REMATCH[5]}
        found=$(printenv "$name") || fail "$3: $2 contains \$$name, which is not set on $(hostname); expected a variable that jobs have, or the path itself, in the site block of grid.yaml"
        whole+=$found
    done
    printf -v "$1" '%s' "$whole$rest"
}

# The site block of the run's grid.yaml: as it was when the job was submitted, for a job that was submitted by hand as its file
# says, for a run without such a file the defaults.
read_site() {
    local bind binds=() expanded=() how_to_trust
    SITE_MODULES='' SITE_CONTAINER='' SITE_CONTAINER_COMMAND=singularity SITE_CONTAINER_BINDS='' SITE_ENVIRONMENT=''
    SITE_NGPUS=1 SITE_UMASK=''
    how_to_trust="expected what only you, root, or a group that shares the run (chmod g+ws) can write. If you trust it: ${site_trust:-qsub -v TRUST=yes,RUN_DIR=... ...}"
    if [[ -n ${SITE_BLOCK+given} ]]; then
        take_given_site
    elif [[ -n ${RUN_DIR:-} && (-e $RUN_DIR/site.conf || -L $RUN_DIR/site.conf) ]]; then
        take_site_file site.conf
    elif [[ -n ${RUN_DIR:-} && (-e $RUN_DIR/site.sh || -L $RUN_DIR/site.sh) ]]; then
        take_site_file site.sh
    fi
    [[ -n $SITE_CONTAINER_COMMAND ]] || SITE_CONTAINER_COMMAND=singularity
    [[ -n $SITE_NGPUS ]] || SITE_NGPUS=1
    [[ -z $SITE_UMASK ]] || umask "$SITE_UMASK" # PBS runs jobs with 077
    # In messages, which others may read in logs, paths are as they were written: without the values of variables.
    written_container=$SITE_CONTAINER
    written_environment=$SITE_ENVIRONMENT
    expand SITE_CONTAINER "$SITE_CONTAINER" container
    expand SITE_ENVIRONMENT "$SITE_ENVIRONMENT" environment
    [[ -z $SITE_CONTAINER || $SITE_CONTAINER == /* ]] || SITE_CONTAINER="$repository/$SITE_CONTAINER"
    [[ -z $SITE_ENVIRONMENT || $SITE_ENVIRONMENT == /* ]] || SITE_ENVIRONMENT="$repository/$SITE_ENVIRONMENT"
    IFS=, read -r -a binds <<< "$SITE_CONTAINER_BINDS"
    for bind in "${binds[@]}"; do
        expand bind "$bind" container_binds
        expanded+=("$bind")
    done
    SITE_CONTAINER_BINDS=$(IFS=, && printf '%s' "${expanded[*]}")
    if [[ -z $SITE_ENVIRONMENT ]]; then
        if [[ -n $SITE_CONTAINER ]]; then
            SITE_ENVIRONMENT="$repository/.venv-container"
        elif [[ -x $repository/.venv/bin/python ]]; then
            SITE_ENVIRONMENT="$repository/.venv"
        fi
        written_environment=$SITE_ENVIRONMENT
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
    local name names
    [[ -n $SITE_MODULES ]] || return 0
    read -r -a names <<< "$SITE_MODULES"
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
    for name in "${names[@]}"; do
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
        [[ -f $SITE_CONTAINER || -d $SITE_CONTAINER ]] || fail "the container $written_container does not exist on $(hostname); expected its path as container: in the site block of grid.yaml"
        if ! command -v "$SITE_CONTAINER_COMMAND" > /dev/null; then
            fail "$SITE_CONTAINER_COMMAND is not on PATH on $(hostname); expected its module in modules:, or singularity or apptainer as container_command:, in the site block"
        fi
        [[ $SITE_NGPUS == 0 ]] || gpu=(--nv)
        python=("$SITE_CONTAINER_COMMAND" exec "${gpu[@]}" --bind "$repository" --bind "${RUN_DIR:-$repository}")
        [[ -z $SITE_CONTAINER_BINDS ]] || python+=(--bind "$SITE_CONTAINER_BINDS")
        # The python of the environment is a link that is valid only inside the container.
        [[ -d $SITE_ENVIRONMENT ]] || fail "the environment $written_environment for the container does not exist; make it once, on the login node: bash $(pasted jobs/make_environment.sh ${RUN_DIR:+"$RUN_DIR"})"
        [[ $SITE_ENVIRONMENT == "$repository"/* ]] || python+=(--bind "$SITE_ENVIRONMENT")
        python+=("$SITE_CONTAINER" "$SITE_ENVIRONMENT/bin/python")
    elif [[ -n $SITE_ENVIRONMENT ]]; then
        [[ -x $SITE_ENVIRONMENT/bin/python ]] || fail "the environment $written_environment has no bin/python on $(hostname); expected environment: in the site block to name one that the nodes see"
        export PATH="$SITE_ENVIRONMENT/bin:$PATH"
        python=("$SITE_ENVIRONMENT/bin/python")
    else
        command -v python3 > /dev/null || fail "no python3 on PATH and no $repository/.venv; make one with: bash $(pasted jobs/make_environment.sh)"
        python=(python3)
    fi
}
