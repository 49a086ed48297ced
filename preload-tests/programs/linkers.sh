# Each links the same objects; most write through a mapping.
for i in 1 2 3 4 5 6; do
    printf 'static int table%s[2000] = {%s}; int f%s(int x) { return x + table%s[0]; }\n' $i $i $i $i >f$i.c
    gcc -O1 -g "-fdebug-prefix-map=$PWD=." -ffunction-sections -c f$i.c
done
cat >main.c <<'C'
#include <stdio.h>
int f1(int), f2(int), f3(int), f4(int), f5(int), f6(int);
int main(void) { printf("%d\n", f1(f2(f3(f4(f5(f6(0))))))); return 7; }
C
gcc -O1 -g "-fdebug-prefix-map=$PWD=." -c main.c
for linker in bfd gold lld mold; do
    gcc -fuse-ld=$linker -Wl,--build-id=none f?.o main.o -o $linker
    echo $linker && code ./$linker
    sha256sum $linker
    gcc -fuse-ld=$linker -Wl,--build-id=none -shared f?.o -o lib$linker.so 2>/dev/null || echo "no library"
    # In place, over what is there.
    gcc -fuse-ld=$linker -Wl,--build-id=sha1 -Wl,--gc-sections f?.o main.o -o $linker
    readelf -n $linker | grep 'Build ID'
    code ./$linker
done
