/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Races against the moment at which an access is decided. Each round runs in its own
 * process, which may be killed. What it reads goes to a page that it shares with this
 * process.
 *
 *	races keep			keeps a secret, also in short-lived children
 *	races NAME PID ROUNDS		prints how many rounds there were, how many of
 *					them ended with a kill, and how many got the secret
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH	32
#define SIGNALS 200 /* in a round of "signals" */

/* The program is linked at a fixed address, so that this has the same address in every
 * process. It is empty in all processes except those that keep the secret.
 */
static char secret[LENGTH];
static char *shared;
static pid_t victim;
static volatile int over;

static void fill(char *into)
{
	for (int i = 0; i < LENGTH; i++)
		into[i] = 'A' + i % 26;
}

static int keep(void)
{
	fill(secret);
	printf("%d keeps a secret\n", getpid());
	fflush(stdout);
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		if (fork() == 0) {
			usleep(3000);
			_exit(0);
		}
		usleep(1000);
	}
}

static void wait_up_to(int microseconds)
{
	struct timespec now, end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += microseconds * 1000L;
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec * 1000000000L + now.tv_nsec < end.tv_sec * 1000000000L + end.tv_nsec);
}

static ssize_t read_of(pid_t pid)
{
	struct iovec local = {shared, LENGTH}, remote = {secret, LENGTH};

	return process_vm_readv(pid, &local, 1, &remote, 1, 0);
}

static int open_mem(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", victim);
	return open(path, O_RDONLY);
}

/* One thread opens the file while another one reads from the number that it will get. */
static void *read_guess(void *fd)
{
	while (!over)
		pread((int)(intptr_t)fd, shared, LENGTH, (off_t)(uintptr_t)secret);
	return NULL;
}

static void race_threads(void)
{
	int next = dup(0);
	pthread_t thread;

	close(next);
	pthread_create(&thread, NULL, read_guess, (void *)(intptr_t)next);
	for (int i = 0; i < 5; i++) {
		int fd = open_mem();

		if (fd >= 0) {
			pread(fd, shared, LENGTH, (off_t)(uintptr_t)secret);
			close(fd);
		}
	}
	over = 1;
	pthread_join(thread, NULL);
}

/* The caller is killed while it waits for the decision. */
static void race_killed(void)
{
	pid_t child = fork();

	if (child == 0) {
		read_of(victim);
		_exit(0);
	}
	/* Emulated CPUs take longer to reach the call. */
	wait_up_to(rand() % 4 ? rand() % 600 : rand() % 20000);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static int signals;

static void nothing(int signal)
{
	struct itimerval never = {};

	(void)signal;
	if (++signals == SIGNALS)
		setitimer(ITIMER_REAL, &never, NULL);
}

/* Signals make the caller repeat its request again and again. They stop after SIGNALS,
 * because no request completes if an answer takes longer than the time between signals.
 */
static void race_signals(void)
{
	struct itimerval often = {{0, 400}, {0, 400}}, never = {};
	struct sigaction restart = {.sa_handler = nothing, .sa_flags = rand() % 2 ? SA_RESTART : 0};

	sigaction(SIGALRM, &restart, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 3; i++)
		read_of(victim);
	setitimer(ITIMER_REAL, &never, NULL);
}

/* One thread waits for the decision while another one execs. */
static void *exec_self(void *unused)
{
	(void)unused;
	wait_up_to(rand() % 300);
	execl("/proc/self/exe", "races", "nothing", NULL);
	return NULL;
}

static void race_exec(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, exec_self, NULL);
	read_of(victim);
	pthread_join(thread, NULL);
}

/* The target is a child, which may be read. It ends while the access is being decided,
 * and the victim's next child gets its pid.
 */
static void *recycle(void *decoy)
{
	pid_t pid = (pid_t)(intptr_t)decoy;
	char last[16];
	int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);

	wait_up_to(rand() % 300);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 50 && !over; i++) {
		pwrite(fd, last, snprintf(last, sizeof(last), "%d", pid - 1), 0);
		wait_up_to(100);
	}
	close(fd);
	return NULL;
}

static void race_recycled(void)
{
	pid_t decoy = fork();
	pthread_t thread;

	if (decoy == 0) {
		pause();
		_exit(0);
	}
	pthread_create(&thread, NULL, recycle, (void *)(intptr_t)decoy);
	for (int i = 0; i < 20 && *shared == 0; i++)
		read_of(decoy);
	over = 1;
	pthread_join(thread, NULL);
}

static const struct {
	const char *name;
	void (*run)(void);
} races[] = {
	{"threads", race_threads}, {"killed", race_killed},	{"signals", race_signals},
	{"exec", race_exec},	   {"recycled", race_recycled},
};

static int race(void (*run)(void), int rounds)
{
	int killed = 0, leaked = 0;
	char wanted[LENGTH];

	fill(wanted);
	for (int round = 0; round < rounds; round++) {
		pid_t child;
		int status;

		memset(shared, 0, LENGTH);
		child = fork();
		if (child == 0) {
			srand(round);
			alarm(20);
			run();
			_exit(0);
		}
		waitpid(child, &status, 0);
		killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
		leaked += memchr(shared, wanted[0], LENGTH) || !memcmp(shared, wanted, LENGTH);
	}
	printf("{\"rounds\": %d, \"killed\": %d, \"leaked\": %d}\n", rounds, killed, leaked);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "keep"))
		return keep();
	if (argc != 4)
		return 0;
	victim = atoi(argv[2]);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < sizeof(races) / sizeof(races[0]); i++)
		if (!strcmp(argv[1], races[i].name))
			return race(races[i].run, atoi(argv[3]));
	return 2;
}
