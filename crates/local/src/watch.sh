# Runs a program that cannot outlive its parent.
#
#   sh -c <this> watch SIGNAL TENTHS PROGRAM ARGUMENT…
#
# Standard input is a pipe whose only writing end is in the parent: however the
# parent ends, the pipe then ends too. Standard output is the folder's lock,
# standard error the program's log.
#
# The shell becomes the program itself (`exec`, so the parent waits for and
# signals the right process) and leaves a watcher beside it. The watcher sits in
# two subshells so that it is no child of the program: PostgreSQL would otherwise
# find a child that it did not start. It keeps the lock open, so that the folder is
# free only when the program is gone.
exec 3<&0 </dev/null
(
  (
    # A line says that the parent has seen the program end. `$$` is the program.
    exec 2>/dev/null
    read -r _ <&3 && exit 0
    kill -s "$1" "$$"
    tenths=$2
    while [ "$tenths" -gt 0 ] && kill -0 "$$"; do
      sleep 0.1
      tenths=$((tenths - 1))
    done
    kill -s KILL "$$"
  ) &
)
shift 2
exec "$@" 3<&- >&2
