/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Samples the registers and stack of a child, which execs another program (here, this one as
 * "victim") with a secret on its stack:
 *
 *	heir inherit	by an event on itself, which its children inherit
 *	heir crowd	the same, with more events after it than anybody looks at
 *	heir give	by an event that the child has on itself, and gives away
 *	heir thread	the same, of a thread of the child's, which the exec of another one ends
 *
 * Prints "got it" if the secret is in a sample, and "nothing" if not.
 */
#define _GNU_SOURCE
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGES 64
#define CPUS  256

static struct perf_event_attr attr = {
	.type = PERF_TYPE_SOFTWARE,
	.size = sizeof(attr),
	.config = PERF_COUNT_SW_CPU_CLOCK,
	.sample_period = 1000000,
	.sample_type = PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER,
	.sample_regs_user = 1,
	.sample_stack_user = 1024,
	.exclude_kernel = 1,
	.disabled = 1,
};
static long cpus;
static int *events; /* shared with the child, as the descriptors are until its exec */
static int opened[2], mapped[2];

/* Not a string anywhere: only the victim's stack has it. */
static void fill(volatile char *secret)
{
	for (int i = 0; i < 16; i++)
		secret[i] = 'A' + i * 7 % 26;
}

static int victim(void)
{
	volatile char secret[16];
	volatile unsigned long work = 0;
	clock_t end;

	fill(secret);
	for (end = clock() + CLOCKS_PER_SEC / 2; clock() < end;)
		for (int i = 0; i < 1000000; i++)
			work += secret[i & 15];
	return 0;
}

static void sample(void)
{
	for (int i = 0; i < cpus; i++)
		events[i] = syscall(SYS_perf_event_open, &attr, 0, i, -1, 0);
}

/* Opens events on itself that only count. They come before older ones in the kernel's list. */
static void crowd(void)
{
	struct perf_event_attr counts = attr;

	counts.sample_type = 0;
	for (int i = 0; i < 200; i++)
		syscall(SYS_perf_event_open, &counts, 0, (int)cpus - 1, -1, 0);
}

/* Has the parent map the buffers of what was opened. */
static void show(void)
{
	char byte;

	if (write(opened[1], "", 1) != 1 || read(mapped[0], &byte, 1) != 1)
		_exit(1);
}

static void *become_victim(void *none)
{
	execl("/proc/self/exe", "victim", "victim", NULL);
	_exit(1);
	return none;
}

static void *sample_in_thread(void *none)
{
	pthread_t heir;

	sample();
	show();
	pthread_create(&heir, NULL, become_victim, NULL);
	pthread_join(heir, NULL);
	return none;
}

static void play_child(const char *how)
{
	pthread_t thread;

	if (!strcmp(how, "thread")) {
		pthread_create(&thread, NULL, sample_in_thread, NULL);
		pthread_join(thread, NULL);
	}
	if (!strcmp(how, "give"))
		sample();
	show();
	become_victim(NULL);
}

int main(int argc, char **argv)
{
	long page = sysconf(_SC_PAGESIZE);
	static char *rings[CPUS];
	char secret[16], byte;
	pid_t self = getpid(), child;

	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "victim"))
		return victim();
	cpus = sysconf(_SC_NPROCESSORS_CONF);
	if (cpus > CPUS)
		cpus = CPUS;
	events = mmap(NULL, CPUS * sizeof(*events), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (events == MAP_FAILED || pipe(opened) || pipe(mapped))
		return 2;
	attr.inherit = strcmp(argv[1], "give") != 0;
	if (!strcmp(argv[1], "inherit") || !strcmp(argv[1], "crowd"))
		sample();
	if (!strcmp(argv[1], "crowd"))
		crowd();
	child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		if (getppid() != self)
			_exit(1);
		play_child(argv[1]);
	}
	if (read(opened[0], &byte, 1) != 1)
		return 2;
	for (int i = 0; i < cpus; i++) {
		rings[i] = mmap(NULL, (1 + PAGES) * page, PROT_READ | PROT_WRITE, MAP_SHARED,
				events[i], 0);
		if (rings[i] == MAP_FAILED) {
			printf("failed: %m\n");
			kill(child, SIGKILL);
			return 2;
		}
		ioctl(events[i], PERF_EVENT_IOC_ENABLE, 0);
	}
	if (write(mapped[1], "", 1) != 1)
		return 2;
	waitpid(child, NULL, 0);
	for (int i = 0; i < cpus; i++)
		ioctl(events[i], PERF_EVENT_IOC_DISABLE, 0);
	fill(secret);
	for (int i = 0; i < cpus; i++)
		if (memmem(rings[i] + page, PAGES * page, secret, sizeof(secret))) {
			puts("got it");
			return 0;
		}
	puts("nothing");
	return 0;
}
