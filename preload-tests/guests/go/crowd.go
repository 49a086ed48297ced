// crowd FILE: goroutines that store to parts of one mapping, call msync, and read back what the filesystem holds,
// while others collect garbage and never yield.
// Exit: 0 all is there, 1 something is not, 3 msync failed with EIO.
package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

const (
	page     = 4096
	crowd    = 8
	pages    = 5
	rounds   = 15
	partSize = pages * page
)

var failed, torn, done int32

func check(what string, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, what, err)
		os.Exit(2)
	}
}

func work(base []byte, name string, n int) {
	part := base[n*partSize : (n+1)*partSize]
	for round := 0; round < rounds; round++ {
		stored := bytes.Repeat([]byte{byte('A' + (n+round)%26)}, partSize-page)
		copy(part[page/2:], stored)
		_, _, errno := syscall.Syscall(syscall.SYS_MSYNC, uintptr(unsafe.Pointer(&part[0])), partSize, syscall.MS_SYNC)
		if errno != 0 {
			if errno != syscall.EIO {
				check("msync", errno)
			}
			atomic.AddInt32(&failed, 1)
			continue
		}
		reader, err := os.Open(name)
		check("open", err)
		found := make([]byte, len(stored))
		_, err = reader.ReadAt(found, int64(n*partSize+page/2))
		check("read", err)
		reader.Close()
		if !bytes.Equal(found, stored) {
			atomic.AddInt32(&torn, 1)
		}
	}
}

func main() {
	name := os.Args[1]
	runtime.GOMAXPROCS(4)
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	check("open", err)
	_, err = file.Write(make([]byte, crowd*partSize))
	check("write", err)
	check("sync", file.Sync())
	base, err := syscall.Mmap(int(file.Fd()), 0, crowd*partSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	check("mmap", err)
	// Interrupted by the runtime's signals alone.
	go func() {
		for count := 0; atomic.LoadInt32(&done) == 0; count++ {
		}
	}()
	go func() {
		var kept [][]byte
		for atomic.LoadInt32(&done) == 0 {
			kept = append(kept[len(kept)/2:], make([]byte, 1<<16))
			runtime.GC()
		}
	}()
	var all sync.WaitGroup
	for n := 0; n < crowd; n++ {
		all.Add(1)
		go func(n int) {
			defer all.Done()
			work(base, name, n)
		}(n)
	}
	all.Wait()
	atomic.StoreInt32(&done, 1)
	switch {
	case torn > 0:
		fmt.Println("P0 torn in", torn, "of", crowd*rounds)
		os.Exit(1)
	case failed > 0:
		os.Exit(3)
	}
}
