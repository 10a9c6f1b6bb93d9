package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

func mountFS(kind, at, options string) error {
	if err := syscall.Mount(kind, at, kind, 0, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", kind, at, err)
	}
	return nil
}

func execve(argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, argv, os.Environ())
}

// forwardMain turns forwarding on in the namespace it runs in.
func forwardMain() error {
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte("1"), 0o644); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}
