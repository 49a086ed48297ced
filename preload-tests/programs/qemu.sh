# A machine whose memory is a shared mapping of a file: what it stores is in the file.
# Boot sector: "OK" to the debug port, a word to linear address 0x8000, and the end by the exit port.
# mov al,'O'; out 0xe9,al; mov al,'K'; out 0xe9,al; xor ax,ax; mov ds,ax;
# mov word [0x8000],0x4b4d; mov al,0x10; out 0xf4,al; hlt
printf '\260O\346\351\260K\346\351\061\300\216\330\307\006\000\200MK\260\020\346\364\364' >boot
truncate -s 510 boot && printf '\125\252' >>boot
truncate -s 64M memory
code timeout 60 qemu-system-x86_64 -accel tcg -machine pc,memory-backend=ram -m 64M -nodefaults -display none \
    -object memory-backend-file,id=ram,size=64M,mem-path="$PWD/memory",share=on \
    -drive file=boot,format=raw,if=ide,snapshot=on -debugcon file:said -device isa-debugcon,iobase=0xe9,chardev=said \
    -chardev file,id=said,path=said -device isa-debug-exit,iobase=0xf4,iosize=4 2>errors
cat errors said
dd if=memory bs=1 skip=32768 count=2 status=none; echo
