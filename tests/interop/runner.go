package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// runner runs the named tests one after the other.
type runner struct {
	self   string // this program
	daemon string
	cli    string
	dir    string // scratch, removed at the end
	logs   string // where the logs of failed tests are kept; "": nowhere
	runs   int    // repetitions of a timed measurement
	jobs   int    // tests that may run side by side, where they can

	switches int // between relay and direct path that a test forces
	mib      int // size of what the transfer tests move

	// The reference's daemon redials a plain HTTP server by TLS on port
	// 443; ours must not need that.
	reference bool

	mu   sync.Mutex // what follows, and the standard output
	grid []gridLine
}

// namedTest is an entry of a table of tests.  One that is parallel has a
// network of its own like all, and waits more than it works.
type namedTest struct {
	name     string
	fn       func(*test)
	parallel bool
	needs    func() (why string) // why it cannot run here, "" if it can; nil: always
}

// test is one run of a named test.
type test struct {
	runner *runner
	name   string
	index  int
	lab    *lab
	flows  int // started so far

	mu      sync.Mutex
	figures []string
	faults  []string // what was wrong beside the test's own steps
}

type testFailed struct{ msg string }

// fatalf ends the test; it must be called on the test's own goroutine.
func (t *test) fatalf(format string, args ...any) {
	panic(testFailed{fmt.Sprintf(format, args...)})
}

// figure reports something measured.
func (t *test) figure(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.figures = append(t.figures, fmt.Sprintf(format, args...))
}

// fault makes the test fail in the end but lets it go on.
func (t *test) fault(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = append(t.faults, fmt.Sprintf(format, args...))
}

// helperErr fails the test when one of the suite's own processes failed.
func (t *test) helperErr(err error) {
	if err != nil {
		t.fatalf("%v", err)
	}
}

// await polls cond until it holds.
func (t *test) await(limit time.Duration, what string, cond func() bool) {
	t.awaitEvery(pollStep, limit, what, cond)
}

func (t *test) awaitEvery(step, limit time.Duration, what string, cond func() bool) {
	for end := time.Now().Add(limit); ; time.Sleep(step) {
		if cond() {
			return
		}
		if time.Now().After(end) {
			t.fatalf("not within %v: %s", limit, what)
		}
	}
}

// run runs the test and returns "" or what failed.
func (t *test) run(fn func(*test)) (failure string) {
	defer func() {
		if p := recover(); p != nil {
			failed, ok := p.(testFailed)
			if !ok {
				panic(p)
			}
			t.faults = append([]string{failed.msg}, t.faults...)
		}
		failure = strings.Join(t.faults, "\n")
	}()
	defer func() {
		if t.lab != nil {
			t.lab.stop()
		}
	}()
	fn(t)
	return ""
}

// keepLogs copies the logs of a failed test and returns where they are.
func (t *test) keepLogs() string {
	if t.runner.logs == "" || t.lab == nil {
		return ""
	}
	to := filepath.Join(t.runner.logs, t.name)
	if os.MkdirAll(to, 0o755) != nil {
		return ""
	}
	files, _ := filepath.Glob(filepath.Join(t.lab.dir, "*.log"))
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			os.WriteFile(filepath.Join(to, filepath.Base(f)), b, 0o644)
		}
	}
	return to
}

// tellLogs prints the end of what the nodes of a failed test said.
func (t *test) tellLogs() {
	if t.lab == nil {
		return
	}
	files, _ := filepath.Glob(filepath.Join(t.lab.dir, "*.log"))
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".log")
		b, err := os.ReadFile(f)
		if err != nil || name == "servers" || strings.HasSuffix(name, "-helper") || strings.HasSuffix(name, "-wire") {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		for _, line := range lines[max(0, len(lines)-25):] {
			fmt.Printf("     %s: %s\n", name, line)
		}
	}
}

// report prints one line for the test, and its figures.
func (t *test) report(failure string, took time.Duration) {
	t.runner.mu.Lock()
	defer t.runner.mu.Unlock()
	if failure == "" {
		fmt.Printf("PASS %s\n", t.name)
	} else {
		fmt.Printf("FAIL %s: %s\n", t.name, strings.ReplaceAll(failure, "\n", "\n     "))
		if where := t.keepLogs(); where != "" {
			fmt.Printf("     logs: %s\n", where)
		} else {
			t.tellLogs()
		}
	}
	for _, f := range t.figures {
		fmt.Printf("FIGURE %s: %s\n", t.name, f)
	}
	fmt.Printf("     %s took %.1f s\n", t.name, took.Seconds())
}

// startJanitor starts the process that cleans up after this one.
func (r *runner) startJanitor() (stop func(), err error) {
	cmd := exec.Command(r.self, "janitor", nsPrefix(), r.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		in.Close()
		cmd.Wait()
	}, nil
}

// program finds an executable: by its own variable, else in the build tree.
func program(variable, underBuild string) (string, error) {
	path := os.Getenv(variable)
	if path == "" {
		build := os.Getenv("BUILD_DIR")
		if build == "" {
			return "", fmt.Errorf("set BUILD_DIR, or %s", variable)
		}
		path = filepath.Join(build, underBuild)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	_, err = os.Stat(path)
	return path, err
}

func newRunner() (*runner, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	daemon, err1 := program("TAILSCALED", "daemon/tailscaled")
	cli, err2 := program("TAILSCALE", "cli/tailscale")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "ti")
	if err != nil {
		return nil, err
	}
	return &runner{self: self, daemon: daemon, cli: cli, dir: dir, logs: os.Getenv("INTEROP_LOGS")}, nil
}

// runMain runs the tests whose names match and returns the exit code.
func runMain(args []string) int {
	fs := flag.NewFlagSet("run", flag.ExitOnError)
	pattern := fs.String("run", "", "regular expression of test names")
	skip := fs.String("skip", "^$", "regular expression of test names to leave out")
	list := fs.Bool("list", false, "print the names and leave")
	runs := fs.Int("runs", 10, "repetitions of each timed measurement")
	jobs := fs.Int("jobs", 4, "tests of the grid and of cuts that run side by side")
	switches := fs.Int("switches", 10, "switches between relay and direct path that a test forces")
	long := fs.Bool("long", false, "all rows of the grid, many more switches")
	table := fs.String("grid-table", "", "file to append the table of the grid to, as Markdown (- is the standard output)")
	mib := fs.Int("mib", 100, "MiB that the transfer tests move each way")
	fs.Parse(args)
	re, err := regexp.Compile(*pattern)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	not, err := regexp.Compile(*skip)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	var chosen []namedTest
	for _, n := range append(slices.Clone(tests), pathTests(*long)...) {
		if re.MatchString(n.name) && !not.MatchString(n.name) {
			chosen = append(chosen, n)
		}
	}
	if *list {
		for _, n := range chosen {
			fmt.Println(n.name)
		}
		return 0
	}
	r, err := newRunner()
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		return 2
	}
	r.runs, r.mib, r.jobs, r.switches = *runs, *mib, *jobs, *switches
	r.reference = os.Getenv("INTEROP_REFERENCE") != ""
	os.Setenv("TS_NO_LOGS_NO_SUPPORT", "true")
	cleanup, err := r.startJanitor()
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		return 2
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan int, 1)
	go func() {
		code := r.runTests(chosen)
		if err := r.writeGrid(*table); err != nil {
			fmt.Fprintln(os.Stderr, "interop:", err)
			code = 2
		}
		done <- code
	}()
	select {
	case code := <-done:
		cleanup()
		return code
	case <-signals:
		// Daemons and helpers die with this process; the janitor,
		// in its own session, outlives it and removes the rest.
		fmt.Fprintln(os.Stderr, "interop: interrupted")
		return 130
	}
}

// runTests runs those that are not parallel one after the other, and then
// the others.
func (r *runner) runTests(chosen []namedTest) int {
	var failed atomic.Bool
	one := func(index int) {
		n := chosen[index]
		if n.needs != nil {
			if why := n.needs(); why != "" {
				fmt.Printf("SKIP %s: %s\n", n.name, why)
				return
			}
		}
		t := &test{runner: r, name: n.name, index: index}
		start := time.Now()
		failure := t.run(n.fn)
		t.report(failure, time.Since(start))
		if failure != "" {
			failed.Store(true)
		}
	}
	var wg sync.WaitGroup
	queue := make(chan int)
	for i, n := range chosen {
		if !n.parallel {
			one(i)
		}
	}
	for range r.jobs {
		wg.Go(func() {
			for i := range queue {
				one(i)
			}
		})
	}
	for i, n := range chosen {
		if n.parallel {
			queue <- i
		}
	}
	close(queue)
	wg.Wait()
	if failed.Load() {
		return 1
	}
	return 0
}
