//! What a sidecar may ask of the kernel, by seccomp: everything but what no sidecar needs and an escape would. It covers what Landlock
//! does not know: sockets that are not TCP, other processes, new namespaces, and ways around the checks of both.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use crate::media::sidecar::Kin;

/// Refused whatever their arguments are.
const NEVER: &[c_long] = &[
    // Other processes and their memory.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    // Out of the process group, which is killed as one.
    libc::SYS_setsid,
    libc::SYS_setpgid,
    // A port that somebody outside could come to; to listen takes no name.
    libc::SYS_listen,
    // Another user, or more privileges.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_capset,
    libc::SYS_personality,
    // Who may do what with a file, which no rule about opening it covers.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_utimensat,
    FCHMODAT2,
    SETXATTRAT,
    REMOVEXATTRAT,
    // Another view of the file system.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    // Asks for system calls without making them.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // A file that lies nowhere can be executed, and no rule about files knows it.
    libc::SYS_memfd_create,
    // Devices and pipes with names, and links: whoever reads the results would follow them.
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    // Parts of the kernel that are large, privileged, or both.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_fanotify_init,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    // Memory and messages shared with whoever else is on the machine.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
];

// Newer than what libc knows everywhere, and with the same number on every architecture.
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;

/// Those that change how fast a process runs and where, by the place of the process among their arguments.
const ABOUT_A_PROCESS: &[(c_long, u8)] = &[
    (libc::SYS_setpriority, 1),
    (libc::SYS_ioprio_set, 1),
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setattr, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setscheduler, 0),
    (libc::SYS_migrate_pages, 0),
    (libc::SYS_move_pages, 0),
    (libc::SYS_prlimit64, 0),
];

/// The same under the names that only this architecture still has.
#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[c_long] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_mknod,
    libc::SYS_symlink,
    libc::SYS_link,
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[c_long] = &[];

#[cfg(target_arch = "x86_64")]
const FORKS: &[c_long] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const FORKS: &[c_long] = &[];

/// On x86-64 most calls have a second number, for programs with short pointers; the kernel may or may not take it.
#[cfg(target_arch = "x86_64")]
const ALIAS: Option<c_long> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const ALIAS: Option<c_long> = None;

const NAMESPACES: [i32; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_PTRACE,
];
/// From the kernel's `ioprio.h`.
const IOPRIO_WHO_PROCESS: u64 = 1;
/// What of a socket's type is not a flag.
const TYPE: u64 = 0xf;

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// From here on the listed calls fail; whether the kernel can do that.
///
/// # Errors
/// When the filter itself is wrong.
pub(super) fn filter(kin: Kin, port: Option<u16>) -> io::Result<bool> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(false);
    };
    let refused = program(refused(kin, port)?, libc::EPERM, arch)?;
    // Its flags lie in memory, where a filter cannot look. Who is told that there is no such call takes `clone`.
    let unknown = program(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        libc::ENOSYS,
        arch,
    )?;
    Ok(apply_filter(&unknown).is_ok() && apply_filter(&refused).is_ok())
}

fn program(rules: Rules, errno: i32, arch: TargetArch) -> io::Result<BpfProgram> {
    let aliases = rules.clone().into_iter();
    let rules = aliases
        .filter_map(|(call, rules)| Some((call + ALIAS?, rules)))
        .chain(rules)
        .collect();
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.cast_unsigned()),
        arch,
    )
    .and_then(BpfProgram::try_from)
    .map_err(io::Error::other)
}

/// The calls, each with the arguments for which it is refused; with none it always is.
fn refused(kin: Kin, port: Option<u16>) -> io::Result<Rules> {
    let mut rules: Rules = NEVER
        .iter()
        .chain(NEVER_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    rules.insert(libc::SYS_socket, sockets(port)?);
    rules.insert(libc::SYS_socketpair, pairs(kin)?);
    // To connect while sending is to connect without being asked where to.
    for (call, flags) in [
        (libc::SYS_sendto, 3),
        (libc::SYS_sendmsg, 2),
        (libc::SYS_sendmmsg, 3),
    ] {
        rules.insert(call, vec![any_of(flags, libc::MSG_FASTOPEN)?]);
    }
    // What is typed into the terminal of whoever started us.
    let typed = [libc::TIOCSTI, libc::TIOCLINUX];
    let typed = typed.map(|request| rule([(1, Dword, Eq, u64::from(request as u32))]));
    rules.insert(
        libc::SYS_ioctl,
        typed.into_iter().collect::<Result<_, _>>()?,
    );
    // To outlive the service.
    let ties = rule([(0, Dword, Eq, flag(libc::PR_SET_PDEATHSIG))])?;
    rules.insert(libc::SYS_prctl, vec![ties]);
    let own = u64::from(std::process::id());
    for (call, place) in ABOUT_A_PROCESS {
        let another = rule([(*place, Dword, Ne, 0), (*place, Dword, Ne, own)])?;
        rules.insert(*call, vec![another]);
    }
    // These know groups and users as well, which are more than the program.
    for (call, process) in [
        (libc::SYS_setpriority, u64::from(libc::PRIO_PROCESS)),
        (libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS),
    ] {
        let more = rule([(0, Dword, Ne, process)])?;
        rules.entry(call).or_default().push(more);
    }
    let mut clones = NAMESPACES
        .into_iter()
        .map(|flag| any_of(0, flag))
        .collect::<io::Result<Vec<_>>>()?;
    match kin {
        Kin::Alone => {
            let thread = flag(libc::CLONE_THREAD);
            clones.push(rule([(0, Qword, MaskedEq(thread), 0)])?);
            rules.extend(FORKS.iter().map(|call| (*call, Vec::new())));
            // A program without children has nobody to signal but itself.
            for call in [libc::SYS_kill, libc::SYS_tgkill] {
                rules.insert(call, vec![rule([(0, Dword, Ne, own)])?]);
            }
            rules.insert(libc::SYS_tkill, Vec::new());
        }
        Kin::Family => {}
    }
    rules.insert(libc::SYS_clone, clones);
    Ok(rules)
}

/// Every socket but one for TCP, or every socket where there is nothing to connect to.
fn sockets(port: Option<u16>) -> io::Result<Vec<SeccompRule>> {
    if port.is_none() {
        return Ok(Vec::new());
    }
    let (inet, inet6) = (flag(libc::AF_INET), flag(libc::AF_INET6));
    let mut rules = vec![
        rule([(0, Dword, Ne, inet), (0, Dword, Ne, inet6)])?,
        // Others ride on TCP without being it, so that no rule about ports is asked.
        rule([
            (2, Dword, Ne, flag(libc::IPPROTO_IP)),
            (2, Dword, Ne, flag(libc::IPPROTO_TCP)),
        ])?,
    ];
    rules.extend(types_but_stream()?);
    Ok(rules)
}

/// Pairs that could be turned towards somebody else, or all where nobody is there to hold the other end.
fn pairs(kin: Kin) -> io::Result<Vec<SeccompRule>> {
    match kin {
        Kin::Alone => Ok(Vec::new()),
        Kin::Family => types_but_stream(),
    }
}

fn types_but_stream() -> io::Result<Vec<SeccompRule>> {
    (0..=TYPE)
        .filter(|kind| *kind != flag(libc::SOCK_STREAM))
        .map(|kind| rule([(1, Dword, MaskedEq(TYPE), kind)]))
        .collect()
}

/// An argument that has one flag set.
fn any_of(argument: u8, bit: i32) -> io::Result<SeccompRule> {
    rule([(argument, Qword, MaskedEq(flag(bit)), flag(bit))])
}

fn flag(bit: i32) -> u64 {
    u64::from(bit.cast_unsigned())
}

type Condition = (u8, SeccompCmpArgLen, SeccompCmpOp, u64);

/// All of these at once.
fn rule<const N: usize>(conditions: [Condition; N]) -> io::Result<SeccompRule> {
    let conditions = conditions.map(|(argument, length, operator, value)| {
        SeccompCondition::new(argument, length, operator, value)
    });
    conditions
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .and_then(SeccompRule::new)
        .map_err(io::Error::other)
}
