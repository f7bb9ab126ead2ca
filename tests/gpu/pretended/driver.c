/* A pretended libcuda.so.1, to find on a machine without a GPU what breaks CUDA's rules.
 *
 * Streams are really asynchronous: a thread each, and every step is late. Device memory cannot be touched by the CPU but
 * inside a step; what was freed cannot be touched by anybody, ever again; a result that is on its way is NaN until it has
 * come. A thread has no context until it takes one, and a forked child has no GPU at all. Whoever breaks a rule is named
 * on stderr and counted; what a real GPU would not survive (a touch of freed memory) stays an error for the whole process.
 *
 * PRETENDED_CUDA_...
 *   COUNT=1 NAME=Orin SM=8.7 SMS=8 MEMORY=8000000000   the GPUs; several are alike but for NAME, which takes their number
 *   DRIVER=12060                                        the newest CUDA that the driver knows
 *   DELAY_US=300                                        how late a step is
 *   FAIL=cuMemAlloc_v2:3:2                              from its fourth call on, that function answers 2 (out of memory)
 *   FAULTS=FILE                                         broken rules are written there, too
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef int Result;
typedef unsigned long long Address;
enum {
    OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201, INVALID_HANDLE = 400, ILLEGAL_ADDRESS = 700,
};
enum { MULTIPROCESSORS = 16, INTEGRATED = 18, MAJOR = 75, MINOR = 76 };

typedef struct Memory {
    char *at;
    size_t size, mapped;
    int on_device, freed, awaited; /* awaited: so many steps of a stream will touch it */
    struct Memory *next;
} Memory;

typedef struct Step { /* a copy, or a kernel */
    void *to, *from;
    size_t size;
    Memory *a, *b;
    void (*kernel)(void *);
    void *argument;
    struct Step *next;
} Step;

typedef struct Stream {
    pthread_t thread;
    Step *first, *last;
} Stream;

#define MOST_STREAMS 256
#define MOST_DEVICES 8
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static Memory *memories;
static Stream streams[MOST_STREAMS];
static int stream_count, faults, broken, contexts[MOST_DEVICES];
static size_t held;
static pid_t owner; /* 0 before cuInit */
static __thread int *current;

static const char *setting(const char *name, const char *otherwise)
{
    char full[80];
    snprintf(full, sizeof full, "PRETENDED_CUDA_%s", name);
    const char *value = getenv(full);
    return value && *value ? value : otherwise;
}

void pretended_fault(const char *text)
{
    FILE *file = fopen(setting("FAULTS", "/dev/null"), "a");
    fprintf(stderr, "pretended CUDA: %s\n", text);
    if (file) {
        fprintf(file, "%s\n", text);
        fclose(file);
    }
    __sync_fetch_and_add(&faults, 1);
}

static void fault(const char *format, ...)
{
    char text[200];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    pretended_fault(text);
}

/* --- what each call asks first --- */

static Result asked_to_fail(const char *name)
{
    static int calls;
    char wanted[80];
    int after = 0, code = OUT_OF_MEMORY;
    if (sscanf(setting("FAIL", ""), "%79[^:]:%d:%d", wanted, &after, &code) < 1 || strcmp(wanted, name))
        return OK;
    return __sync_fetch_and_add(&calls, 1) >= after ? code : OK;
}

static Result refused(const char *name, int needs_context)
{
    Result said = asked_to_fail(name);
    if (said)
        return said;
    if (owner != getpid())
        return NOT_INITIALIZED;
    if (needs_context && !current) {
        fault("%s on a thread without a current context", name);
        return INVALID_CONTEXT;
    }
    return needs_context ? broken : OK;
}

#define BEGIN(needs_context)                                \
    do {                                                    \
        Result said_ = refused(__func__, needs_context);    \
        if (said_)                                          \
            return said_;                                   \
    } while (0)

static int first_device(void) /* CUDA_VISIBLE_DEVICES of one number */
{
    const char *wanted = getenv("CUDA_VISIBLE_DEVICES");
    return wanted && *wanted ? atoi(wanted) : 0;
}

static int device_count(void)
{
    int count = atoi(setting("COUNT", "1")), first = first_device();
    return first >= count ? 0 : first ? 1 : count < MOST_DEVICES ? count : MOST_DEVICES;
}

/* --- driver and devices --- */

Result cuInit(unsigned flags)
{
    Result said = asked_to_fail("cuInit");
    if (said || flags)
        return said ? said : INVALID_VALUE;
    if (owner && owner != getpid())
        return NOT_INITIALIZED;
    if (device_count() < 1)
        return NO_DEVICE;
    owner = getpid();
    return OK;
}

Result cuDriverGetVersion(int *version) { *version = atoi(setting("DRIVER", "12060")); return OK; }
Result cuDeviceGetCount(int *count) { BEGIN(0); *count = device_count(); return OK; }

Result cuDeviceGet(int *device, int number)
{
    BEGIN(0);
    *device = number;
    return number >= 0 && number < device_count() ? OK : INVALID_DEVICE;
}

Result cuDeviceGetName(char *name, int length, int device)
{
    BEGIN(0);
    if (atoi(setting("COUNT", "1")) > 1)
        snprintf(name, length, "%s %d", setting("NAME", "Orin"), first_device() + device);
    else
        snprintf(name, length, "%s", setting("NAME", "Orin"));
    return OK;
}

Result cuDeviceGetAttribute(int *value, int number, int device)
{
    BEGIN(0);
    (void)device;
    int major = 8, minor = 7;
    sscanf(setting("SM", "8.7"), "%d.%d", &major, &minor);
    *value = number == MAJOR ? major : number == MINOR ? minor : number == MULTIPROCESSORS ? atoi(setting("SMS", "8"))
           : number == INTEGRATED ? 1 : 0;
    return OK;
}

static size_t memory_bytes(void) { return (size_t)atoll(setting("MEMORY", "8000000000")); }
Result cuDeviceTotalMem_v2(size_t *bytes, int device) { BEGIN(0); (void)device; *bytes = memory_bytes(); return OK; }

Result cuDevicePrimaryCtxRetain(void **context, int device)
{
    BEGIN(0);
    *context = &contexts[device];
    return OK;
}

Result cuCtxSetCurrent(void *context)
{
    BEGIN(0);
    if (context && ((int *)context < contexts || (int *)context >= contexts + MOST_DEVICES))
        return INVALID_CONTEXT;
    current = context;
    return OK;
}

Result cuCtxGetCurrent(void **context) { BEGIN(0); *context = current; return OK; }

Result cuGetErrorString(int code, const char **text)
{
    static const struct { int code; const char *text; } known[] = {
        {INVALID_VALUE, "invalid argument"}, {OUT_OF_MEMORY, "out of memory"}, {NOT_INITIALIZED, "initialization error"},
        {NO_DEVICE, "no CUDA-capable device is detected"}, {INVALID_DEVICE, "invalid device ordinal"},
        {INVALID_CONTEXT, "invalid device context"}, {INVALID_HANDLE, "invalid resource handle"},
        {ILLEGAL_ADDRESS, "an illegal memory access was encountered"}, {999, "unknown error"},
        {803, "system has unsupported display driver / cuda driver combination"},
    };
    *text = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].code == code)
            *text = known[i].text;
    return *text ? OK : INVALID_VALUE;
}

/* --- memory --- */

static Memory *find(const void *at, size_t size)
{
    for (Memory *memory = memories; memory; memory = memory->next)
        if ((char *)at >= memory->at && (char *)at + size <= memory->at + memory->size)
            return memory;
    return NULL;
}

static void open_memory(Memory *memory, int open)
{
    if (memory->on_device)
        mprotect(memory->at, memory->mapped, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

static void poison(void *at, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        ((float *)at)[i] = __builtin_nanf("");
}

static Result keep(void **at, size_t size, int on_device)
{
    if (!size)
        return INVALID_VALUE;
    if (held + size > memory_bytes())
        return OUT_OF_MEMORY;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), mapped = (size + page - 1) / page * page;
    void *found = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (found == MAP_FAILED)
        return OUT_OF_MEMORY;
    Memory *memory = calloc(1, sizeof *memory);
    *memory = (Memory){.at = found, .size = size, .mapped = mapped, .on_device = on_device};
    poison(found, size);
    open_memory(memory, 0);
    pthread_mutex_lock(&lock);
    memory->next = memories;
    memories = memory;
    held += size;
    pthread_mutex_unlock(&lock);
    *at = found;
    return OK;
}

static void drain(Stream *stream)
{
    pthread_mutex_lock(&lock);
    while (stream->first)
        pthread_cond_wait(&moved, &lock);
    pthread_mutex_unlock(&lock);
}

static Result drop(void *at, int on_device)
{
    Memory *memory = find(at, 1);
    if (!memory || memory->at != at || memory->on_device != on_device || memory->freed) {
        fault("freed what was not allocated, or twice");
        return INVALID_VALUE;
    }
    if (memory->awaited)
        fault("freed with %d steps still to come", memory->awaited);
    for (int i = 0; i < stream_count; i++)
        drain(&streams[i]); /* as the driver does */
    memory->freed = 1;
    held -= memory->size;
    mprotect(memory->at, memory->mapped, PROT_NONE);
    return OK;
}

Result cuMemAlloc_v2(Address *address, size_t size)
{
    BEGIN(1);
    void *at = NULL;
    Result said = keep(&at, size, 1);
    *address = (Address)(uintptr_t)at;
    return said;
}

Result cuMemHostAlloc(void **at, size_t size, unsigned flags) { BEGIN(1); (void)flags; return keep(at, size, 0); }
Result cuMemFree_v2(Address address) { BEGIN(1); return drop((void *)(uintptr_t)address, 1); }
Result cuMemFreeHost(void *at) { BEGIN(1); return drop(at, 0); }

/* --- streams --- */

static void copy_now(Step *step)
{
    if (step->a->freed || step->b->freed) {
        fault("a copy ran after its memory was freed");
        broken = ILLEGAL_ADDRESS;
        return;
    }
    Memory *device = step->a->on_device ? step->a : step->b;
    open_memory(device, 1);
    memcpy(step->to, step->from, step->size);
    open_memory(device, 0);
}

static void *work(void *argument)
{
    Stream *stream = argument;
    current = &contexts[0];
    for (;;) {
        pthread_mutex_lock(&lock);
        while (!stream->first)
            pthread_cond_wait(&moved, &lock);
        Step *step = stream->first;
        pthread_mutex_unlock(&lock);
        long late = atol(setting("DELAY_US", "300"));
        if (late > 0)
            usleep((useconds_t)late);
        if (step->kernel)
            step->kernel(step->argument);
        else
            copy_now(step);
        pthread_mutex_lock(&lock);
        if (step->a)
            step->a->awaited--, step->b->awaited--;
        stream->first = step->next;
        if (!stream->first)
            stream->last = NULL;
        pthread_cond_broadcast(&moved);
        pthread_mutex_unlock(&lock);
        free(step);
    }
    return NULL;
}

Result cuStreamCreate(void **handle, unsigned flags)
{
    BEGIN(1);
    (void)flags;
    if (stream_count == MOST_STREAMS)
        return OUT_OF_MEMORY;
    Stream *stream = &streams[stream_count++];
    pthread_create(&stream->thread, NULL, work, stream);
    pthread_detach(stream->thread);
    *handle = stream;
    return OK;
}

static Stream *known(void *handle)
{
    Stream *stream = handle;
    if (stream >= streams && stream < streams + stream_count)
        return stream;
    fault("a stream that does not exist");
    return NULL;
}

static Result put(void *handle, Step step)
{
    Stream *stream = known(handle);
    if (!stream)
        return INVALID_HANDLE;
    Step *made = malloc(sizeof *made);
    *made = step;
    pthread_mutex_lock(&lock);
    if (step.a)
        step.a->awaited++, step.b->awaited++;
    if (stream->last)
        stream->last->next = made;
    else
        stream->first = made;
    stream->last = made;
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&lock);
    return OK;
}

Result cuStreamSynchronize(void *handle)
{
    BEGIN(1);
    Stream *stream = known(handle);
    if (!stream)
        return INVALID_HANDLE;
    drain(stream);
    return broken;
}

static Result copy(void *to, void *from, size_t size, void *handle, int up)
{
    Memory *a = find(to, size), *b = find(from, size);
    if (!a || !b || a->freed || b->freed || a->on_device != up || b->on_device == up) {
        fault("a copy of %zu bytes from or to what is not live memory of that kind", size);
        return INVALID_VALUE;
    }
    if (!up)
        poison(to, size);
    return put(handle, (Step){.to = to, .from = from, .size = size, .a = a, .b = b});
}

Result cuMemcpyHtoDAsync_v2(Address to, void *from, size_t size, void *stream)
{
    BEGIN(1);
    return copy((void *)(uintptr_t)to, from, size, stream, 1);
}

Result cuMemcpyDtoHAsync_v2(void *to, Address from, size_t size, void *stream)
{
    BEGIN(1);
    return copy(to, (void *)(uintptr_t)from, size, stream, 0);
}

/* --- for the pretended TensorRT, and for tests --- */

Result pretended_launch(void *stream, void (*kernel)(void *))
{
    return put(stream, (Step){.kernel = kernel});
}

int pretended_open(Address address, size_t size, int open)
{
    Memory *memory = find((void *)(uintptr_t)address, size);
    if (!memory || memory->freed || !memory->on_device) {
        fault("a kernel touched %zu bytes that are not live memory of the GPU", size);
        broken = ILLEGAL_ADDRESS;
        return 0;
    }
    open_memory(memory, open);
    return 1;
}

int pretended_has_context(void) { return current != NULL; }
int pretended_faults(void) { return faults; }
size_t pretended_held(void) { return held; }
