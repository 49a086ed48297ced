// The seed case in small, by the library mmap-go.
// Exit: 0 all is there, 1 something is not, 3 msync failed.
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/edsrzf/mmap-go"
)

const size = 4 * 4096

func check(what string, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, what, err)
		os.Exit(2)
	}
}

func main() {
	file, err := os.OpenFile(os.Args[1], os.O_RDWR|os.O_CREATE, 0o600)
	check("open", err)
	_, err = file.Write(make([]byte, size))
	check("write", err)
	check("sync", file.Sync())
	mapped, err := mmap.Map(file, mmap.RDWR, 0)
	check("mmap", err)
	stored := bytes.Repeat([]byte("s"), size)
	copy(mapped, stored)
	if err := mapped.Flush(); err != nil {
		fmt.Println("msync", err)
		os.Exit(3)
	}
	reader, err := os.Open(os.Args[1])
	check("open", err)
	found := make([]byte, size)
	_, err = reader.ReadAt(found, 0)
	check("read", err)
	check("munmap", mapped.Unmap())
	if !bytes.Equal(found, stored) {
		fmt.Println("P0 torn")
		os.Exit(1)
	}
}
