/* The files of host.h: read whole at every call, replaced whole after every setter, under one lock. */
#define _DEFAULT_SOURCE /* flock */
#include "host.h"

#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Driver branch from which application clocks answer NVML_ERROR_DEPRECATED; NVML announces it for a later driver. */
#define BRANCH_WITHOUT_APPLICATION_CLOCKS 600

enum directory { RUN, STATE };

static const struct {
    const char *variable, *path;
} DIRECTORIES[] = {
    [RUN] = {"SANDBOX_NVML_RUN", "/run/sandbox-nvml"},
    [STATE] = {"SANDBOX_NVML_STATE", "/var/lib/sandbox-nvml"},
};

#define NAME(symbol, name) name,
static const char *const FEATURE_NAMES[] = {FEATURE_LIST(NAME)};
static const char *const READING_NAMES[] = {READING_LIST(NAME)};

enum lifetime { UNTIL_CLOSED, UNTIL_REBOOT, FOR_GOOD };
#define SETTING_NAME(symbol, name, lifetime) name,
static const char *const SETTING_NAMES[] = {SETTING_LIST(SETTING_NAME)};
#define LIFETIME(symbol, name, lifetime) lifetime,
static const enum lifetime LIFETIMES[] = {SETTING_LIST(LIFETIME)};

static const struct {
    const char *word;
    nvmlReturn_t code;
} AVAILABILITY[] = {
    {"supported", NVML_SUCCESS},
    {"unsupported", NVML_ERROR_NOT_SUPPORTED},
    {"deprecated", NVML_ERROR_DEPRECATED},
    {"missing", NVML_ERROR_FUNCTION_NOT_FOUND},
};

/* Paths and files */

struct path {
    char text[PATH_MAX];
};

static const char *directory(enum directory which) {
    const char *path = getenv(DIRECTORIES[which].variable);
    return path != NULL && *path != '\0' ? path : DIRECTORIES[which].path;
}

static struct path path_of(enum directory which, const char *name) {
    struct path path;
    snprintf(path.text, sizeof path.text, "%s/%s", directory(which), name);
    return path;
}

static FILE *open_to_read(enum directory which, const char *name) {
    return fopen(path_of(which, name).text, "re");
}

/*
 * The first process after a reboot may belong to any user, so directory and files are writable by all users, whatever
 * its umask. fchmod fails for all but a file's owner, which does no harm.
 */
static int open_in_run(const char *name, int flags) {
    if (mkdir(directory(RUN), 0777) == 0)
        chmod(directory(RUN), 0777);
    int file = open(path_of(RUN, name).text, flags | O_CREAT | O_CLOEXEC, 0666);
    if (file != -1)
        (void)!fchmod(file, 0666);
    return file;
}

static bool replace(enum directory which, const char *name, const char *text, size_t size) {
    struct path path = path_of(which, name), scratch;
    if (snprintf(scratch.text, sizeof scratch.text, "%s.%ld", path.text, (long)getpid()) >= (int)sizeof scratch.text)
        return false;
    FILE *file = fopen(scratch.text, "we");
    if (file == NULL)
        return false;
    bool written = fwrite(text, 1, size, file) == size && fchmod(fileno(file), 0644) == 0;
    written = fclose(file) == 0 && written && rename(scratch.text, path.text) == 0;
    if (!written)
        unlink(scratch.text);
    return written;
}

/* A mistake in a test's files would otherwise look like a fault of the tested code. */
static void complain(const char *file, const char *what) {
    fprintf(stderr, "simulated NVML: %s: not understood: %s\n", file, what);
}

/* Split `key=value` in place; NULL when there is no "=". */
static char *value_of(char *word) {
    char *equals = strchr(word, '=');
    if (equals != NULL)
        *equals++ = '\0';
    return equals;
}

static unsigned int find_name(const char *const *names, unsigned int count, const char *wanted) {
    unsigned int i = 0;
    while (i < count && strcmp(names[i], wanted) != 0)
        i++;
    return i;
}

/* Reading */

static bool set_feature(struct gpu *gpu, const char *name, const char *word) {
    unsigned int feature = find_name(FEATURE_NAMES, FEATURES, name);
    if (*name == '\0' || feature == FEATURES)
        return false;
    for (size_t i = 0; i < sizeof AVAILABILITY / sizeof *AVAILABILITY; i++)
        if (strcmp(AVAILABILITY[i].word, word) == 0) {
            gpu->features[feature] = AVAILABILITY[i].code;
            return true;
        }
    return false;
}

static bool set_option(struct gpu *gpu, char *word) {
    char *value = value_of(word);
    if (value == NULL)
        return false;
    if (strcmp(word, "ecc_pending") != 0)
        return set_feature(gpu, word, value);
    gpu->ecc_factory = *value == '1';
    return *value == '0' || *value == '1';
}

/* FNV-1a */
static unsigned long long digest(const char *text, unsigned int number) {
    unsigned long long hash = 0xcbf29ce484222325ULL ^ number;
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3ULL;
    return hash;
}

static void add_gpu(struct host *host, const struct profile *profile) {
    struct gpu *gpu = &host->gpus[host->count];
    gpu->profile = profile;
    gpu->index = host->count++;
    gpu->identity = digest(profile->key, gpu->index);
    gpu->ecc_factory = profile->ecc_default;
    memcpy(gpu->features, profile->features, sizeof gpu->features);
    memcpy(gpu->readings, profile->readings, sizeof gpu->readings);
    gpu->features[NOWHERE] = NVML_ERROR_NOT_SUPPORTED;
    if (atoi(host->module) >= BRANCH_WITHOUT_APPLICATION_CLOCKS)
        gpu->features[APPLICATION_CLOCKS] = NVML_ERROR_DEPRECATED;
}

static void load_gpu(struct host *host, char *line) {
    char *rest = NULL, *word = strtok_r(line, " \t\n", &rest);
    if (word == NULL || *word == '#')
        return;
    const struct profile *profile = find_profile(word);
    if (profile == NULL || host->count == MAX_GPUS) {
        complain("gpus", word);
        return;
    }
    add_gpu(host, profile);
    while ((word = strtok_r(NULL, " \t\n", &rest)) != NULL)
        if (!set_option(&host->gpus[host->count - 1], word))
            complain("gpus", word);
}

/* `INDEX.name=value`; the index is MAX_GPUS when the line is about something else. */
struct entry {
    unsigned long index;
    const char *name, *value;
};

static struct entry entry_of(char *line) {
    struct entry entry = {.index = MAX_GPUS, .name = line, .value = value_of(line)};
    char *dot = strchr(line, '.');
    if (entry.value == NULL || dot == NULL)
        return entry;
    unsigned long index = strtoul(line, NULL, 10);
    if (index < MAX_GPUS)
        entry = (struct entry){.index = index, .name = dot + 1, .value = entry.value};
    return entry;
}

static void load_setting(struct host *host, char *line) {
    line[strcspn(line, "\n")] = '\0';
    struct entry entry = entry_of(line);
    if (entry.value != NULL && strcmp(entry.name, "module") == 0)
        snprintf(host->module, sizeof host->module, "%s", entry.value);
    if (entry.value != NULL && strcmp(entry.name, "loaded") == 0)
        host->loaded = strtoull(entry.value, NULL, 10);
    unsigned int setting = find_name(SETTING_NAMES, SETTINGS, entry.name);
    if (entry.index < MAX_GPUS && setting < SETTINGS)
        host->gpus[entry.index].settings[setting] = (unsigned int)strtoul(entry.value, NULL, 10);
}

static void load_count(struct host *host, char *line) {
    struct entry entry = entry_of(line);
    unsigned int reading = find_name(READING_NAMES, READINGS, entry.name);
    if (entry.index < MAX_GPUS && reading < READINGS)
        host->gpus[entry.index].counts[reading] = strtoull(entry.value, NULL, 10);
}

static void set_reading(struct gpu *gpu, unsigned int reading, const char *value) {
    bool counts = *value == '+';
    gpu->steps[reading] = counts ? strtoull(value + 1, NULL, 0) : 0;
    gpu->readings[reading] = counts ? gpu->counts[reading] : strtoull(value, NULL, 0);
}

static void load_readings(struct host *host, char *line) {
    char *rest = NULL, *word = strtok_r(line, " \t\n", &rest);
    unsigned long index = word == NULL ? MAX_GPUS : strtoul(word, NULL, 10);
    if (index >= host->count)
        return;
    while ((word = strtok_r(NULL, " \t\n", &rest)) != NULL) {
        char *value = value_of(word);
        unsigned int reading = find_name(READING_NAMES, READINGS, word);
        if (value == NULL || reading == READINGS)
            complain("load", word);
        else
            set_reading(&host->gpus[index], reading, value);
    }
}

static void load(struct host *host, enum directory which, const char *name, void (*take)(struct host *, char *)) {
    FILE *file = open_to_read(which, name);
    if (file == NULL)
        return;
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) != -1)
        take(host, line);
    free(line);
    fclose(file);
}

static unsigned long long microseconds(struct timespec time) {
    return (unsigned long long)time.tv_sec * 1000000 + (unsigned long long)time.tv_nsec / 1000;
}

unsigned long long host_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return microseconds(now);
}

void host_open(struct host *host) {
    memset(host, 0, sizeof *host);
    for (unsigned int i = 0; i < MAX_GPUS; i++)
        for (unsigned int j = 0; j < SETTINGS; j++)
            host->gpus[i].settings[j] = UNSET;
    host->lock = open_in_run("lock", O_RDONLY);
    if (host->lock != -1)
        flock(host->lock, LOCK_EX);
    /* The settings go first: they hold the driver's version, on which a GPU's features depend. */
    load(host, RUN, "state", load_setting);
    load(host, RUN, "counts", load_count);
    load(host, STATE, "inforom", load_setting);
    /* The first process after a boot loads the installed module, as nvidia-modprobe does. */
    if (*host->module == '\0' && !installed_driver(host->module))
        *host->module = '\0';
    if (host->loaded == 0)
        host->loaded = host_now();
    load(host, STATE, "gpus", load_gpu);
    load(host, STATE, "load", load_readings);
    struct stat written;
    bool given = stat(path_of(STATE, "load").text, &written) == 0;
    host->in_force = given ? microseconds(written.st_mtim) : host->loaded;
    /* The last PCI slots of an EC2 instance are its GPUs'. */
    for (unsigned int i = 0; i < host->count; i++)
        host->gpus[i].pci_slot = 0x1F - host->count + i;
}

void host_close(struct host *host) {
    if (host->lock != -1)
        close(host->lock);
    host->lock = -1;
}

/* Writing */

static bool save(const struct host *host, bool inforom) {
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    if (memory == NULL)
        return false;
    if (!inforom)
        fprintf(memory, "module=%s\nloaded=%llu\n", host->module, host->loaded);
    for (unsigned int i = 0; i < MAX_GPUS; i++)
        for (unsigned int j = 0; j < SETTINGS; j++)
            if (host->gpus[i].settings[j] != UNSET && (LIFETIMES[j] == FOR_GOOD) == inforom)
                fprintf(memory, "%u.%s=%u\n", i, SETTING_NAMES[j], host->gpus[i].settings[j]);
    bool saved = fclose(memory) == 0
                 && (inforom ? replace(STATE, "inforom", text, size) : replace(RUN, "state", text, size));
    free(text);
    return saved;
}

bool host_save(const struct host *host) {
    return save(host, false) && (!host->inforom_changed || save(host, true));
}

bool host_save_counts(const struct host *host) {
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    if (memory == NULL)
        return false;
    for (unsigned int i = 0; i < MAX_GPUS; i++)
        for (unsigned int j = 0; j < READINGS; j++)
            if (host->gpus[i].counts[j] != 0)
                fprintf(memory, "%u.%s=%llu\n", i, READING_NAMES[j], host->gpus[i].counts[j]);
    bool saved = fclose(memory) == 0 && replace(RUN, "counts", text, size);
    free(text);
    return saved;
}

unsigned int ecc_pending(const struct gpu *gpu) {
    return gpu->settings[ECC_PENDING] == UNSET ? gpu->ecc_factory : gpu->settings[ECC_PENDING];
}

void host_forget(struct host *host) {
    for (unsigned int i = 0; i < MAX_GPUS; i++)
        for (unsigned int j = 0; j < SETTINGS; j++)
            if (host->gpus[i].settings[PERSISTENCE_MODE] != 1 && LIFETIMES[j] == UNTIL_CLOSED)
                host->gpus[i].settings[j] = UNSET;
}

void host_log(const char *line) {
    int log = open_in_run("writes", O_WRONLY | O_APPEND);
    if (log == -1)
        return;
    dprintf(log, "%s\n", line);
    close(log);
}

/* Samples */

static bool parse_sample(const char *line, unsigned int *index, unsigned int *type, nvmlSample_t *sample) {
    *sample = (nvmlSample_t){.timeStamp = 0};
    return sscanf(line, "%u %u %llu %u", index, type, &sample->timeStamp, &sample->sampleValue.uiVal) == 4;
}

struct held host_samples(const struct gpu *gpu, unsigned int type, unsigned long long last, nvmlSample_t *samples,
                         unsigned int size) {
    struct held held = {.all = 0, .given = 0};
    FILE *file = open_to_read(STATE, "samples");
    if (file == NULL)
        return held;
    char *line = NULL;
    size_t line_size = 0;
    while (getline(&line, &line_size, file) != -1) {
        unsigned int index, of;
        nvmlSample_t sample;
        line[strcspn(line, "\n")] = '\0';
        if (!parse_sample(line, &index, &of, &sample)) {
            complain("samples", line);
            continue;
        }
        if (index != gpu->index || of != type)
            continue;
        held.all++;
        if (sample.timeStamp > last && held.given < size)
            samples[held.given++] = sample;
    }
    free(line);
    fclose(file);
    return held;
}

/*
 * Processes. The kernel releases the lock of a process that dies, as it closes its device. A process that is alone came
 * after the last one closed, so it can reset the settings of that moment: no process has read them in between.
 */

static int clients = -1;

bool client_open(void) {
    clients = open_in_run("clients", O_RDONLY);
    if (clients == -1)
        return false;
    bool alone = flock(clients, LOCK_EX | LOCK_NB) == 0;
    flock(clients, LOCK_SH);
    return alone;
}

void client_close(void) {
    if (clients != -1)
        close(clients);
    clients = -1;
}

/* Faults */

struct fault {
    char function[80];
    nvmlReturn_t code;
    long times, gpu; /* -1: always, on every GPU */
};

static bool parse_fault(const char *line, struct fault *fault) {
    char copy[256], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", line);
    char *function = strtok_r(copy, " \t\n", &rest), *code = strtok_r(NULL, " \t\n", &rest), *word;
    if (function == NULL || code == NULL)
        return false;
    snprintf(fault->function, sizeof fault->function, "%s", function);
    fault->code = (nvmlReturn_t)strtoul(code, NULL, 10);
    if (strcmp(code, "missing") == 0)
        fault->code = NVML_ERROR_FUNCTION_NOT_FOUND;
    if (strcmp(code, "ignored") == 0)
        fault->code = (nvmlReturn_t)IGNORED;
    fault->times = fault->gpu = -1;
    while ((word = strtok_r(NULL, " \t\n", &rest)) != NULL)
        if (strncmp(word, "@gpu=", 5) == 0)
            fault->gpu = strtol(word + 5, NULL, 10);
        else
            fault->times = strtol(word, NULL, 10);
    return true;
}

/* A fault names a function with or without its version; nvmlInit is nvmlInitWithFlags too. */
static bool same_function(const char *fault, const char *function) {
    size_t length = strlen(fault);
    if (strncmp(function, fault, length) != 0)
        return false;
    if (strcmp(fault, "nvmlInit") == 0)
        return true;
    return function[length] == '\0' || strncmp(function + length, "_v", 2) == 0;
}

static bool hits(const struct fault *fault, const struct gpu *gpu, const char *function) {
    return fault->times != 0 && (fault->gpu == -1 || (gpu != NULL && fault->gpu == (long)gpu->index))
           && same_function(fault->function, function);
}

static void count_down(FILE *rest, const struct fault *fault) {
    if (fault->times <= 1)
        return;
    fprintf(rest, "%s %u %ld", fault->function, (unsigned int)fault->code, fault->times - 1);
    if (fault->gpu != -1)
        fprintf(rest, " @gpu=%ld", fault->gpu);
    fputc('\n', rest);
}

nvmlReturn_t host_fault(const struct gpu *gpu, const char *function) {
    FILE *file = open_to_read(STATE, "faults");
    if (file == NULL)
        return NVML_SUCCESS;
    char *line = NULL, *text = NULL;
    size_t line_size = 0, size = 0;
    struct fault fault, hit = {.code = NVML_SUCCESS, .times = -1};
    FILE *rest = open_memstream(&text, &size);
    while (rest != NULL && getline(&line, &line_size, file) != -1) {
        bool first = hit.code == NVML_SUCCESS && parse_fault(line, &fault) && hits(&fault, gpu, function);
        if (first)
            hit = fault;
        if (first && fault.times > 0)
            count_down(rest, &fault);
        else
            fputs(line, rest);
    }
    fclose(file);
    free(line);
    if (rest != NULL && fclose(rest) == 0 && hit.times > 0)
        replace(STATE, "faults", text, size);
    free(text);
    return hit.code;
}

/* Driver */

static bool take_version(char version[VERSION_SIZE], const char *text) {
    size_t length = strspn(text, "0123456789.");
    snprintf(version, VERSION_SIZE, "%.*s", (int)length, text);
    /* libnvidia-ml.so.1 is the link, and a name with more after the version is dpkg's own. */
    return strchr(version, '.') != NULL && strchr("\n", text[length]) != NULL;
}

static bool find_library(char version[VERSION_SIZE], const char *pattern) {
    static const char LIBRARY[] = "libnvidia-ml.so.";
    struct path path;
    glob_t found;
    const char *root = getenv("SANDBOX_NVML_ROOT");
    snprintf(path.text, sizeof path.text, "%s%s%s*", root == NULL ? "" : root, pattern, LIBRARY);
    bool installed = false;
    if (glob(path.text, 0, NULL, &found) == 0) {
        for (size_t i = found.gl_pathc; i > 0 && !installed; i--)
            installed = take_version(version, strrchr(found.gl_pathv[i - 1], '/') + sizeof LIBRARY);
        globfree(&found);
    }
    return installed;
}

bool installed_driver(char version[VERSION_SIZE]) {
    /* Where Debian's and Ubuntu's packages put it, on any architecture. */
    static const char *const PATTERNS[] = {
        "/usr/lib/*-linux-gnu/nvidia/current/",
        "/usr/lib/*-linux-gnu/nvidia/tesla-*/",
        "/usr/lib/*-linux-gnu/",
    };
    const char *given = getenv("SANDBOX_NVML_DRIVER");
    char line[VERSION_SIZE] = "";
    FILE *file = open_to_read(STATE, "driver");
    if (file != NULL) {
        if (fgets(line, sizeof line, file) != NULL && given == NULL)
            given = line;
        fclose(file);
    }
    if (given != NULL)
        return take_version(version, given);
    for (size_t i = 0; i < sizeof PATTERNS / sizeof *PATTERNS; i++)
        if (find_library(version, PATTERNS[i]))
            return true;
    return false;
}

bool module_unloaded(void) {
    return access(path_of(STATE, "unloaded").text, F_OK) == 0;
}

bool is_root(void) {
    const char *given = getenv("SANDBOX_NVML_UID");
    return (given == NULL ? (unsigned long)geteuid() : strtoul(given, NULL, 10)) == 0;
}
