/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a file of the given kind send SIGABRT to a process, and prints "sent".
 *
 *	sigio KIND PID
 */
#define _GNU_SOURCE
#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES 2048

static const char *kind;

static int is(const char *name)
{
	return !strcmp(kind, name);
}

static void fail(const char *what)
{
	printf("failed: %s: %m\n", what);
	exit(1);
}

static void unsupported(void)
{
	puts("unsupported");
	exit(3);
}

static void check(int result, const char *what)
{
	if (result < 0)
		fail(what);
}

#ifdef __x86_64__
/* A kernel without the i386 table answers int 0x80 with a fault. */
static void no_int80(int signal)
{
	(void)signal;
	_exit(3);
}

static int fcntl_int80(int fd, int cmd, long arg)
{
	long result;

	signal(SIGSEGV, no_int80);
	asm volatile("int $0x80"
		     : "=a"(result)
		     : "a"(221 /* fcntl64 */), "b"(fd), "c"(cmd), "d"(arg)
		     : "memory", "r8", "r9", "r10", "r11");
	errno = -result;
	return result < 0 ? -1 : 0;
}
#endif

static void set_signal(int fd)
{
	int result;

	if (is("high")) { /* since Linux 6.6, only the lower half counts */
		result = syscall(SYS_fcntl, fd, F_SETSIG, SIGABRT | 5ul << 32);
		if (result < 0 && errno == EINVAL)
			unsupported();
#ifdef __x86_64__
	} else if (is("int80")) {
		result = fcntl_int80(fd, F_SETSIG, SIGABRT);
	} else if (is("x32")) {
		result = syscall(SYS_fcntl | 0x40000000, fd, F_SETSIG, SIGABRT);
		if (result < 0 && errno == ENOSYS)
			unsupported();
#endif
	} else {
		result = fcntl(fd, F_SETSIG, SIGABRT);
	}
	check(result, "F_SETSIG");
}

/* The process that selects the signal has exited by the time it is sent. */
static void set_signal_by_child(int fd)
{
	pid_t child = fork();

	if (!child) {
		set_signal(fd);
		printf("%d\n", getpid());
		exit(0);
	}
	waitpid(child, NULL, 0);
}

static void set_owner(int fd, pid_t pid)
{
	struct f_owner_ex thread = {F_OWNER_TID, pid};

	if (is("thread"))
		check(fcntl(fd, F_SETOWN_EX, &thread), "F_SETOWN_EX");
	else if (is("group"))
		check(fcntl(fd, F_SETOWN, -pid), "F_SETOWN");
	else if (is("siocspgrp"))
		check(ioctl(fd, SIOCSPGRP, &pid), "SIOCSPGRP");
	else if (is("fiosetown"))
		check(ioctl(fd, FIOSETOWN, &pid), "FIOSETOWN");
	else
		check(fcntl(fd, F_SETOWN, pid), "F_SETOWN");
}

static void arm(int fd, pid_t pid)
{
	if (is("gone"))
		set_signal_by_child(fd);
	else
		set_signal(fd);
	if (is("early")) {
		puts("armed");
		if (scanf("%d", &pid) != 1)
			fail("scanf");
	}
	set_owner(fd, pid);
}

static void go(int fd)
{
	check(fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK), "O_ASYNC");
}

static void send_pipe(pid_t pid)
{
	int ends[2];

	check(pipe(ends), "pipe");
	arm(ends[0], pid);
	go(ends[0]);
	check(write(ends[1], "x", 1), "write");
}

static void send_socket(pid_t pid)
{
	int ends[2];

	check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
	arm(ends[0], pid);
	go(ends[0]);
	check(write(ends[1], "x", 1), "write");
}

/* Sent from a kernel thread. */
static void send_terminal(pid_t pid)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	struct pollfd arrived;

	check(master, "posix_openpt");
	check(grantpt(master), "grantpt");
	check(unlockpt(master), "unlockpt");
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	check(slave, "open the terminal");
	arm(slave, pid);
	go(slave);
	check(write(master, "x\n", 2), "write");
	arrived = (struct pollfd){slave, POLLIN};
	check(poll(&arrived, 1, -1), "poll");
}

static int new_file(char *path)
{
	int fd = mkstemp(path);

	check(fd, "mkstemp");
	return fd;
}

static void send_notify(pid_t pid)
{
	char dir[] = "/tmp/sigio-XXXXXX", path[64];
	int fd;

	if (!mkdtemp(dir))
		fail("mkdtemp");
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	check(fd, "open");
	arm(fd, pid);
	if (fcntl(fd, F_NOTIFY, DN_CREATE) < 0)
		unsupported();
	snprintf(path, sizeof(path), "%s/XXXXXX", dir);
	new_file(path);
	unlink(path);
	rmdir(dir);
}

static void send_lease(pid_t pid)
{
	char path[] = "/dev/shm/sigio-XXXXXX";
	int fd;

	close(new_file(path));
	fd = open(path, O_RDONLY);
	check(fd, "open");
	arm(fd, pid);
	check(fcntl(fd, F_SETLEASE, F_RDLCK), "F_SETLEASE");
	if (open(path, O_WRONLY | O_NONBLOCK) >= 0 || errno != EWOULDBLOCK)
		fail("break the lease");
	unlink(path);
}

/* Sent from the clock interrupt. */
static void send_perf(pid_t pid)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = 1000000,
		.disabled = 1,
	};
	int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
	clock_t begun = clock();

	check(fd, "perf_event_open");
	arm(fd, pid);
	go(fd);
	check(ioctl(fd, PERF_EVENT_IOC_ENABLE, 0), "PERF_EVENT_IOC_ENABLE");
	while (clock() - begun < CLOCKS_PER_SEC / 10)
		;
	check(ioctl(fd, PERF_EVENT_IOC_DISABLE, 0), "PERF_EVENT_IOC_DISABLE");
}

/* Prints how many files can be set to send a signal. Checks that more can be after these are
 * closed.
 */
static int fill(void)
{
	struct rlimit limit = {FILES + 64, FILES + 64};
	static int fds[FILES];
	int n, one;

	check(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
	for (n = 0; n < FILES; n++) {
		fds[n] = open("/dev/null", O_RDONLY);
		check(fds[n], "open");
		if (fcntl(fds[n], F_SETSIG, SIGABRT) < 0)
			break;
	}
	printf("%d: %s\n", n, n < FILES ? strerror(errno) : "all");
	one = fds[0];
	check(fcntl(one, F_SETSIG, SIGABRT), "F_SETSIG of one that has it");
	for (int i = 1; i <= n && i < FILES; i++)
		close(fds[i]);
	for (int i = 1; i < n; i++) {
		fds[i] = open("/dev/null", O_RDONLY);
		check(fcntl(fds[i], F_SETSIG, SIGSEGV), "F_SETSIG");
	}
	puts("again");
	return 0;
}

int main(int argc, char **argv)
{
	pid_t pid;

	if (argc != 3)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	kind = argv[1];
	pid = atoi(argv[2]);
	if (is("fill"))
		return fill();
	if (is("siocspgrp") || is("fiosetown"))
		send_socket(pid);
	else if (is("terminal"))
		send_terminal(pid);
	else if (is("notify"))
		send_notify(pid);
	else if (is("lease"))
		send_lease(pid);
	else if (is("perf"))
		send_perf(pid);
	else
		send_pipe(pid);
	puts("sent");
	return 0;
}
