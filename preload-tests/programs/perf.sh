# Samples come through a mapping of the kernel's.
code perf stat -x , -e task-clock true 2>&1 | sed 's/^[0-9.]*,/N,/; s/,.*//'
code perf record -q -F 500 -e cpu-clock -o data sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done' 2>errors
cat errors
code perf report -i data --stdio --sort comm 2>/dev/null | grep -E '^ +[0-9.]+%' | awk '{ print $2 }' | sort -u
perf script -i data 2>/dev/null | awk '{ n++ } END { print (n > 20) }'
