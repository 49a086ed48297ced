dir=. count=$2 seed=$3
. "$CLIENT/job.sh"
run --verify_only
echo "fio $count $seed"
