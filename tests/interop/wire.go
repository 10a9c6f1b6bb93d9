package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A wire joins two TAP interfaces, each in a namespace of its own, and holds
// every frame back for a while: the lab's way to have a round-trip time.

type frame struct {
	due  time.Time
	data []byte
}

// openTAP makes the TAP interface name in namespace ns.
func openTAP(ns, name string) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result)
	go func() {
		// This thread changes its namespace and must end with the goroutine.
		runtime.LockOSThread()
		f, err := openTAPHere(ns, name)
		done <- result{f, err}
	}()
	r := <-done
	return r.f, r.err
}

func openTAPHere(ns, name string) (*os.File, error) {
	nsfd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", ns, err)
	}
	defer unix.Close(nsfd)
	if err := unix.Setns(nsfd, unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter namespace %s: %w", ns, err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// carry moves frames one way.  A queue that is full drops, as a wire does.
func carry(from, to *os.File, delay time.Duration) error {
	queue := make(chan frame, 4096)
	defer close(queue)
	go func() {
		for f := range queue {
			time.Sleep(time.Until(f.due))
			to.Write(f.data)
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return err
		}
		f := frame{due: time.Now().Add(delay), data: append([]byte(nil), buf[:n]...)}
		select {
		case queue <- f:
		default:
		}
	}
}

// wireMain joins NS1/NAME1 and NS2/NAME2; it answers every request once both exist.
func wireMain(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("usage: wire NS1 NAME1 NS2 NAME2 DELAY")
	}
	delay, err := time.ParseDuration(args[4])
	if err != nil {
		return err
	}
	a, err := openTAP(args[0], args[1])
	if err != nil {
		return err
	}
	b, err := openTAP(args[2], args[3])
	if err != nil {
		return err
	}
	go carry(a, b, delay)
	go carry(b, a, delay)
	return rpcServe(os.Stdin, os.Stdout, func(string, json.RawMessage) (any, error) { return nil, nil })
}
