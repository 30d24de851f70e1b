/*
 * A host with simulated GPUs, and the files with its state. One process writes, all others read.
 *
 * SANDBOX_NVML_STATE (/var/lib/sandbox-nvml), what a reboot preserves:
 *   gpus      one GPU per line, in the order of their indices: a profile (T4, A10G, V100), then options:
 *             ecc_pending=0|1, and FEATURE=supported|unsupported|deprecated|missing (see FEATURE_LIST)
 *   inforom   permanent settings: the pending ECC mode, which overrides the option of the same name
 *   driver    version of the installed user land, instead of looking for one; "none" for no driver
 *   unloaded  when it exists, no kernel module is loaded
 *   load      `INDEX reading=value ...`, instead of the profile's readings (see READING_LIST). `reading=+step` counts:
 *             each call that returns it adds the step to the previous value, from 0 at the boot.
 *   samples   `INDEX TYPE TIMESTAMP_US VALUE`, the whole buffer of samples of that GPU and type (nvmlSamplingType_t,
 *             as a number), instead of the readings in force at the last hundred sixths of a second
 *   faults    `function code [times] [@gpu=INDEX]`, the first match counts; code "missing" is 13, because a symbol
 *             cannot disappear, and with code "ignored" a setter returns 0 and changes nothing. A process that uses up
 *             a fault with `times` must be able to write into the directory.
 *
 * SANDBOX_NVML_RUN (/run/sandbox-nvml), what a reboot clears:
 *   state     version of the loaded kernel module, when it was loaded, and every setting that was made
 *   counts    the values of the readings that count. A process that reads one must be able to write into the directory;
 *             otherwise it gets 999.
 *   writes    the log of all setters: `function gpu arguments -> code`
 *   lock      held during each call
 *   clients   held shared by each process that has NVML open
 *
 * The energy counter is the reading `energy` plus the present power times the time since the readings came into force:
 * when `load` was written or, without one, when the module was loaded. Earlier power values are not stored, so the
 * counter restarts with each `load`, and a new power limit that reduces the power reduces the counter too.
 *
 * A process that may write into neither directory can still read, even if it cannot open the run directory or the
 * locks; then only the atomic replacement of files protects it from a concurrent writer.
 *
 * SANDBOX_NVML_DRIVER overrides the file driver, SANDBOX_NVML_UID overrides the effective user id, and
 * SANDBOX_NVML_ROOT is prepended to the paths of the user land.
 */
#ifndef SANDBOX_HOST_H
#define SANDBOX_HOST_H

#include <stdbool.h>

#include "nvml.h"

#define MAX_GPUS 16U
#define MAX_MEMORY_CLOCKS 2U
#define MAX_CLOCKS 256U
#define VERSION_SIZE 32U
#define UNSET 0xffffffffU
/* Not a code of NVML: the fault "ignored". */
#define IGNORED 1000U

/* Optional features of a GPU or its driver; ALWAYS cannot be removed, and no GPU here has
 * NOWHERE. The second column is the name in `gpus`. */
#define FEATURE_LIST(X)                                                                                                \
    X(ALWAYS, "")                                                                                                      \
    X(NOWHERE, "")                                                                                                     \
    X(SERIAL, "serial")                                                                                                \
    X(UTILIZATION, "utilization")                                                                                      \
    X(FAN, "fan")                                                                                                      \
    X(POWER_MANAGEMENT, "power_management")                                                                            \
    X(APPLICATION_CLOCKS, "application_clocks")                                                                        \
    X(LOCKED_CLOCKS, "locked_clocks")                                                                                  \
    X(MEMORY_LOCKED_CLOCKS, "memory_locked_clocks")                                                                    \
    X(SUPPORTED_CLOCKS, "supported_clocks")                                                                            \
    X(ECC, "ecc")                                                                                                      \
    X(PERSISTENCE, "persistence_mode")                                                                                 \
    X(COMPUTE, "compute_mode")                                                                                         \
    X(RETIRED_PAGES, "retired_pages")                                                                                  \
    X(REMAPPED_ROWS, "remapped_rows")                                                                                  \
    X(SAMPLES, "samples")                                                                                              \
    X(ENERGY_COUNTER, "energy")

/* The settings, their names in `state` or `inforom`, and how long they last. */
#define SETTING_LIST(X)                                                                                                \
    X(PERSISTENCE_MODE, "persistence_mode", UNTIL_REBOOT)                                                              \
    X(COMPUTE_MODE, "compute_mode", UNTIL_CLOSED)                                                                      \
    X(POWER_LIMIT, "power_limit", UNTIL_CLOSED)                                                                        \
    X(APPLICATION_MEMORY, "application_memory", UNTIL_CLOSED)                                                          \
    X(APPLICATION_GRAPHICS, "application_graphics", UNTIL_CLOSED)                                                      \
    X(LOCKED_GRAPHICS_MIN, "locked_graphics_min", UNTIL_CLOSED)                                                        \
    X(LOCKED_GRAPHICS_MAX, "locked_graphics_max", UNTIL_CLOSED)                                                        \
    X(LOCKED_MEMORY_MIN, "locked_memory_min", UNTIL_CLOSED)                                                            \
    X(LOCKED_MEMORY_MAX, "locked_memory_max", UNTIL_CLOSED)                                                            \
    X(ECC_CURRENT, "ecc_current", UNTIL_REBOOT)                                                                        \
    X(ECC_PENDING, "ecc_pending", FOR_GOOD)

/* The readings and their names in `load`, in NVML's units: milliwatts, bytes, millijoules and KB/s. */
#define READING_LIST(X)                                                                                                \
    X(GPU_UTILIZATION, "utilization")                                                                                  \
    X(MEMORY_UTILIZATION, "memory_utilization")                                                                        \
    X(ENCODER, "encoder")                                                                                              \
    X(DECODER, "decoder")                                                                                              \
    X(TEMPERATURE, "temperature")                                                                                      \
    X(POWER, "power")                                                                                                  \
    X(MEMORY_USED, "memory_used")                                                                                      \
    X(FAN_SPEED, "fan")                                                                                                \
    X(ENERGY, "energy")                                                                                                \
    X(PCIE_TX, "pcie_tx")                                                                                              \
    X(PCIE_RX, "pcie_rx")                                                                                              \
    X(ECC_CORRECTED, "ecc_corrected")                                                                                  \
    X(ECC_UNCORRECTED, "ecc_uncorrected")                                                                              \
    X(REMAPPED_CORRECTABLE, "remapped_correctable")                                                                    \
    X(REMAPPED_UNCORRECTABLE, "remapped_uncorrectable")                                                                \
    X(REMAPPING_PENDING, "remapping_pending")                                                                          \
    X(REMAPPING_FAILED, "remapping_failed")                                                                            \
    X(REASONS, "reasons") /* clocks event reasons beyond those that follow from the settings */

#define ENUMERATOR(name, ...) name,
enum feature { FEATURE_LIST(ENUMERATOR) FEATURES };
enum setting { SETTING_LIST(ENUMERATOR) SETTINGS };
enum reading { READING_LIST(ENUMERATOR) READINGS };

struct memory_clock {
    unsigned int memory, graphics_max; /* MHz */
};

struct profile {
    const char *key, *name, *vbios;
    int cuda_major, cuda_minor;
    unsigned int brand, architecture;
    unsigned int pci_device, pci_subsystem, pcie_generation, pcie_width;
    unsigned long long memory_total, memory_reserved; /* bytes */
    unsigned int power_min, power_default, power_max; /* milliwatts */
    struct memory_clock clocks[MAX_MEMORY_CLOCKS]; /* highest first; a lone 0 ends them */
    unsigned int graphics_min, graphics_step; /* MHz, kHz */
    unsigned int application_memory, application_graphics; /* defaults, MHz */
    unsigned int thresholds[4]; /* degrees Celsius, by nvmlTemperatureThresholds_t; 0 for none */
    unsigned int ecc_default;
    nvmlReturn_t features[FEATURES];
    unsigned long long readings[READINGS];
};

struct gpu {
    const struct profile *profile;
    unsigned int index, pci_slot, ecc_factory; /* the pending ECC mode until a caller sets another */
    unsigned long long identity; /* source of serial number and UUID */
    nvmlReturn_t features[FEATURES];
    unsigned int settings[SETTINGS];
    unsigned long long readings[READINGS];
    unsigned long long steps[READINGS]; /* of the readings that count; 0 for all others */
    unsigned long long counts[READINGS];
};

struct host {
    int lock;
    char module[VERSION_SIZE]; /* version of the loaded kernel module; empty without a driver */
    unsigned long long loaded, in_force; /* microseconds since the epoch */
    bool inforom_changed, counted;
    unsigned int count;
    struct gpu gpus[MAX_GPUS];
};

const struct profile *find_profile(const char *key);

/* Read everything and keep other processes out until host_close. */
void host_open(struct host *host);
void host_close(struct host *host);
/* Write the settings; false when they could not be written. */
bool host_save(const struct host *host);
/* Write the values of the readings that count; false when they could not be written. */
bool host_save_counts(const struct host *host);
unsigned int ecc_pending(const struct gpu *gpu);
/* Reset what the driver loses when the last process closes a GPU that is not in persistence mode. */
void host_forget(struct host *host);

/* The samples of one type in the file `samples`: how many in all, and how many after `last` were returned. */
struct held {
    unsigned int all, given;
};
struct held host_samples(const struct gpu *gpu, unsigned int type, unsigned long long last, nvmlSample_t *samples,
                         unsigned int size);

/* Microseconds since the epoch, by the clock that sets a file's times. */
unsigned long long host_now(void);

/* Register this process as one that has NVML open; return whether it is the only one. */
bool client_open(void);
void client_close(void);

/* The code of the fault for this call, NVML_SUCCESS for none; gpu is NULL in a call that concerns no GPU. */
nvmlReturn_t host_fault(const struct gpu *gpu, const char *function);
void host_log(const char *line);

/* Version of the installed user land; false when none is installed. */
bool installed_driver(char version[VERSION_SIZE]);
bool module_unloaded(void);
bool is_root(void);

#endif
