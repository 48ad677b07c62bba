// Command load is an honest Go program under load: goroutines that wait for each other, garbage,
// signals, preemption, a CPU profile, child processes. It prints the same each time and exits with
// 3.
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"syscall"
	"time"
)

func main() {
	var profile bytes.Buffer
	check(pprof.StartCPUProfile(&profile))
	work()
	signals(200)
	children(20)
	// The kernel sends SIGPROF by CPU time consumed, so burn until there are some.
	for profiled := time.Now(); time.Since(profiled) < time.Second; {
		burn(1)
	}
	pprof.StopCPUProfile()
	fmt.Println("profiled:", profile.Len() > 0)
	for _, name := range []string{"heap", "goroutine", "threadcreate"} {
		var text bytes.Buffer
		check(pprof.Lookup(name).WriteTo(&text, 0))
		fmt.Println(name, text.Len() > 0)
	}
	crash()
	os.Exit(3)
}

// work runs many goroutines that produce more garbage than fits into memory.
func work() {
	debug.SetMemoryLimit(64 << 20)
	debug.SetGCPercent(10)
	jobs, sums := make(chan int), make(chan byte)
	var workers sync.WaitGroup
	for range 64 {
		workers.Go(func() {
			for job := range jobs {
				keep := map[int][]byte{}
				for i := range 50 {
					keep[i] = bytes.Repeat([]byte{byte(job)}, 4096)
				}
				sum := sha256.Sum256(keep[job%50])
				sums <- sum[0]
			}
		})
	}
	go func() {
		for job := range 5000 {
			jobs <- job
		}
		close(jobs)
		workers.Wait()
		close(sums)
	}()
	total := 0
	for sum := range sums {
		total += int(sum)
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats) // stops the world
	fmt.Println("sum:", total, "collected:", stats.NumGC > 10)
}

// signals sends itself n signals, one after the other, while threads are busy or sleep in system
// calls.
func signals(n int) {
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGUSR1)
	defer signal.Stop(got)
	done := make(chan struct{})
	var busy sync.WaitGroup
	for range runtime.NumCPU() {
		busy.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					burn(1)
				}
			}
		})
	}
	for range n {
		check(syscall.Kill(os.Getpid(), syscall.SIGUSR1))
		<-got
	}
	close(done)
	busy.Wait()
	fmt.Println("signals:", n)
}

func children(n int) {
	var running sync.WaitGroup
	for range n {
		running.Go(func() { check(exec.Command("/bin/true").Run()) })
	}
	running.Wait()
	fmt.Println("children:", n)
}

// crash makes the runtime turn a processor fault into a panic.
func crash() {
	defer func() { fmt.Println("recovered:", recover()) }()
	var nothing *int
	fmt.Println(*nothing)
}

func burn(milliseconds int) {
	for from := time.Now(); time.Since(from) < time.Duration(milliseconds)*time.Millisecond; {
		_ = sha256.Sum256(make([]byte, 4096))
	}
}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
