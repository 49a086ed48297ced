gcc -no-pie -z lazy -O0 -o mapper "$SOURCES/mapper.c"
ltrace -o calls -e puts+strcpy+mmap+msync+usleep ./mapper file >ready &
tracer=$!
until_it grep -q ready ready
pkill -TERM -P $tracer mapper || :
code_of $tracer
# Which call the signal found is chance.
sed 's/0x[0-9a-f]*/ADDRESS/g; s/^[0-9]* //' calls | grep -v 'usleep\|unfinished\|resumed\|no return' | sort -u
