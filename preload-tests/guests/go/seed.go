// The seed case of seed.c in Go: mmap and msync by raw system calls.
package main

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

const (
	fileSize  = 12800000
	storeAt   = 4442856
	storeLen  = 9927
	page      = 4096
	firstPage = 4440064
	pages     = 4
	oldLen    = 3 * page
	windowAt  = 4395008
	windowLen = 131072
)

func check(what string, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, what, err)
		os.Exit(2)
	}
}

func main() {
	name := os.Args[1]
	store := make([]byte, storeLen)
	for i := range store {
		store[i] = byte('A' + i%26)
	}
	before := make([]byte, pages*page)
	copy(before, bytes.Repeat([]byte("o"), oldLen))
	writer, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	check("open", err)
	check("truncate", writer.Truncate(fileSize))
	_, err = writer.WriteAt(before[:oldLen], firstPage)
	check("write", err)
	check("sync", writer.Sync())
	window, err := os.Open(name)
	check("open", err)
	_, err = window.ReadAt(make([]byte, windowLen), windowAt)
	check("read", err)
	base, err := syscall.Mmap(int(writer.Fd()), 0, fileSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	check("mmap", err)
	copy(base[storeAt:], store)
	_, _, errno := syscall.Syscall(syscall.SYS_MSYNC, uintptr(unsafe.Pointer(&base[0])), fileSize, syscall.MS_SYNC)
	if errno != 0 {
		fmt.Println("msync", errno)
		os.Exit(3)
	}
	check("munmap", syscall.Munmap(base))
	reader, err := os.Open(name)
	check("open", err)
	after := make([]byte, pages*page)
	_, err = reader.ReadAt(after, firstPage)
	check("read", err)
	wanted := append([]byte{}, before...)
	copy(wanted[storeAt-firstPage:], store)
	torn := 0
	for p := 0; p < pages; p++ {
		start, end := p*page, (p+1)*page
		verdict := "mixed"
		switch {
		case bytes.Equal(after[start:end], wanted[start:end]):
			verdict = "new"
		case bytes.Equal(after[start:end], before[start:end]):
			verdict = "old"
		}
		if verdict != "new" {
			torn = 1
		}
		fmt.Printf("P%d [%d,%d) %s\n", p, firstPage+start, firstPage+end, verdict)
	}
	os.Exit(torn)
}
