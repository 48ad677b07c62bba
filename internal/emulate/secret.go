package emulate

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	memfdName    = "shimward-secret"
	secretLength = 32
	wordOffset   = 64 // offset of the word that attempts to write target, from the secret's address
	pageLength   = 4096
	absentOffset = 16 * pageLength // offset of the absent page, from the secret's address
	// The secret's page is below 4 GiB, because an i386 system call cannot name any other address,
	// and above a binary's own text, data and (randomised) break.
	lowest, highest = 0x5000_0000, 0x7000_0000
)

// Victim is what an attacker knows about a victim. All of it is in the victim's command line, which
// anybody may read without deliberately touching the victim's memory.
type Victim struct {
	PID     int    `json:"pid"` // in the reader's pid namespace
	Address uint64 `json:"address"`
	SHA256  string `json:"sha256"` // of the secret, in hex
	MemFD   int    `json:"memfd"`  // the victim's descriptor of a memfd with the secret
	ShmFD   int    `json:"shm"`    // that of a file as shm_open(3) makes one, with the secret; 0: it has no /dev/shm
	OwnMem  int    `json:"mem"`    // that of its own mem file, for reading; 0: it has none
	UserFD  int    `json:"uffd"`   // that of a userfaultfd for the page at Address+absentOffset; 0: its kernel has none
}

func newSecret() ([]byte, error) {
	secret := make([]byte, secretLength)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("making a secret: %w", err)
	}
	return secret, nil
}

func newAddress() (uint64, error) {
	pages, err := rand.Int(rand.Reader, big.NewInt((highest-lowest)/pageLength))
	if err != nil {
		return 0, fmt.Errorf("choosing an address: %w", err)
	}
	return lowest + pages.Uint64()*pageLength, nil
}

func digest(secret []byte) string {
	sum := sha256.Sum256(secret)
	return hex.EncodeToString(sum[:])
}

// secretFile returns a sealed memfd that contains the secret. It survives an exec: the victim reads
// the secret from it after the exec, and keeps it open as a target for attacks.
func secretFile(secret []byte) (int, error) {
	fd, err := unix.MemfdCreate(memfdName, unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	if _, err := unix.Pwrite(fd, secret, 0); err != nil {
		return -1, errors.Join(fmt.Errorf("writing the memfd: %w", err), unix.Close(fd))
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK); err != nil {
		return -1, errors.Join(fmt.Errorf("sealing the memfd: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// sharedMemory is where the C library's shm_open(3) creates its files.
const sharedMemory = "/dev/shm"

// hasSharedMemory reports whether that tmpfs exists: a container need not have one.
func hasSharedMemory() bool {
	var fs unix.Statfs_t
	return unix.Statfs(sharedMemory, &fs) == nil && fs.Type == unix.TMPFS_MAGIC
}

// sharedFile returns a file that contains the secret, as shm_open(3) followed by shm_unlink(3)
// leaves it: memory without a name. It survives an exec. It returns 0 if there is no tmpfs for it.
func sharedFile(secret []byte) (int, error) {
	if !hasSharedMemory() {
		return 0, nil
	}
	name, err := os.CreateTemp(sharedMemory, memfdName+"-*")
	if err != nil {
		return 0, fmt.Errorf("making shared memory: %w", err)
	}
	defer name.Close() //nolint:errcheck // written through another descriptor
	if err := os.Remove(name.Name()); err != nil {
		return 0, fmt.Errorf("making shared memory: %w", err)
	}
	fd, err := unix.Dup(int(name.Fd()))
	if err != nil {
		return 0, fmt.Errorf("making shared memory: %w", err)
	}
	if _, err := unix.Pwrite(fd, secret, 0); err != nil {
		return 0, errors.Join(fmt.Errorf("writing shared memory: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// segment attaches a System V shared memory segment that contains the secret. It has no descriptor,
// and goes away with the process.
func segment(secret []byte) error {
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, pageLength, unix.IPC_CREAT|0o600)
	if errors.Is(err, unix.ENOSYS) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("making a shared memory segment: %w", err)
	}
	page, err := unix.SysvShmAttach(id, 0, 0)
	_, removed := unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	if err := errors.Join(err, removed); err != nil {
		return fmt.Errorf("attaching a shared memory segment: %w", err)
	}
	copy(page, secret)
	return nil
}

// ownMem opens this process's mem file, as descriptor number unless that is 0. After an exec, the
// descriptor is that of an address space that is gone: only its number survives.
func ownMem(number int) (int, error) {
	fd, err := unix.Open("/proc/self/mem", unix.O_RDONLY, 0)
	if err != nil {
		return 0, named("open /proc/self/mem", err)
	}
	if number == 0 || number == fd {
		return fd, nil
	}
	return number, errors.Join(named("dup3", unix.Dup3(fd, number, unix.O_CLOEXEC)), unix.Close(fd))
}

// plant maps an anonymous page at address and puts the secret there. The page
// is outside of the garbage collector's reach and stays for good.
func plant(address uint64, secret []byte) ([]byte, error) {
	where, err := unix.MmapPtr(-1, 0, unsafe.Add(nil, address), pageLength,
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE)
	if err != nil {
		return nil, fmt.Errorf("mapping the secret's page at %#x: %w", address, err)
	}
	page := unsafe.Slice((*byte)(where), pageLength) //nolint:gosec // that long it has been mapped
	copy(page, secret)
	return page, nil
}

func unmap(page []byte) error {
	if err := unix.MunmapPtr(unsafe.Pointer(&page[0]), pageLength); err != nil { //nolint:gosec // its first byte
		return fmt.Errorf("unmapping the secret's page: %w", err)
	}
	return nil
}
