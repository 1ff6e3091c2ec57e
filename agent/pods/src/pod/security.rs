//! Users, groups and privileges. A step can give privileges away, and never gains any by its options.

use k8s_openapi::api::core::v1::{AppArmorProfile, Capabilities, PodSecurityContext, SeccompProfile, SecurityContext};

use piculet_core::workload::Step;

use crate::image;
use crate::options::{Profile, StepOptions};
use crate::settings::{self, ProfileKind, Security, Settings};
use crate::step::Draft;

/// The operator's settings as far as they hold for this step: less for one that the operator lets be root.
pub(crate) fn for_step(settings: &Settings, step: &Step, options: &StepOptions) -> Security {
    let is_hardened = settings.profile == settings::Profile::Hardened;
    if may_be_root(settings, step, options) || (is_hardened && is_privileged(step, options)) {
        settings.security.clone().for_root()
    } else {
        settings.security.clone()
    }
}

/// Whether the operator lets this step be root, whatever holds for the others.
fn may_be_root(settings: &Settings, step: &Step, options: &StepOptions) -> bool {
    let asks = settings.allow_from_step.root && options.security.run_as_user == Some(0);
    asks || settings.root_images.iter().any(|pattern| image::matches(pattern, &step.spec.image))
}

fn is_privileged(step: &Step, options: &StepOptions) -> bool {
    step.spec.privileged && options.security.privileged != Some(false)
}

/// The pod's part.
pub(super) fn of_pod(draft: &mut Draft<'_>) -> Option<PodSecurityContext> {
    let (settings, options) = (draft.security.clone(), draft.options.security.clone());
    // In a user namespace of its own, root is nobody on the node.
    let may_be_root = draft.step.spec.privileged
        || draft.options.host_users == Some(false)
        || may_be_root(draft.settings, draft.step, &draft.options);
    if settings.run_as_non_root && options.run_as_non_root == Some(false) {
        draft.left_out("securityContext.runAsNonRoot", "the operator lets no step run as root");
    }
    let non_root = if settings.run_as_non_root { Some(true) } else { options.run_as_non_root };
    let mut allowed = |option: &str, id: Option<i64>, is_user: bool| {
        let id = id?;
        if id != 0 {
            return Some(id);
        }
        if is_user && non_root == Some(true) {
            draft.left_out(
                option,
                "the step must not run as root (its operator can allow it, with allow_from_step.root)",
            );
            None
        } else if may_be_root {
            Some(0)
        } else {
            draft.left_out(option, "only a privileged step, or one with 'hostUsers: false', may ask for root");
            None
        }
    };
    let run_as_user = allowed("securityContext.runAsUser", options.run_as_user, true).or(settings.run_as_user);
    let run_as_group = allowed("securityContext.runAsGroup", options.run_as_group, false).or(settings.run_as_group);
    let fs_group = allowed("securityContext.fsGroup", options.fs_group, false).or(settings.fs_group);
    if run_as_group.is_some() && run_as_user.is_none() {
        // Container runtimes refuse to start such a container.
        draft.left_out("securityContext.runAsGroup", "a group needs a runAsUser beside it");
    }
    let run_as_group = run_as_group.filter(|_| run_as_user.is_some());
    let policy = options.fs_group_change_policy.or(settings.fs_group_change_policy);
    let context = PodSecurityContext {
        run_as_non_root: non_root,
        run_as_user,
        run_as_group,
        fs_group,
        fs_group_change_policy: policy.map(|policy| policy.as_str().to_owned()),
        seccomp_profile: seccomp(draft, options.seccomp_profile),
        app_armor_profile: apparmor(draft, options.apparmor_profile),
        ..PodSecurityContext::default()
    };
    (context != PodSecurityContext::default()).then_some(context)
}

fn apparmor(draft: &mut Draft<'_>, wanted: Option<Profile>) -> Option<AppArmorProfile> {
    if wanted == Some(Profile::Unconfined) && draft.settings.profile == settings::Profile::Hardened {
        draft.left_out("securityContext.apparmorProfile", "the operator lets no step be unconfined");
        return None;
    }
    wanted.map(|profile| AppArmorProfile {
        localhost_profile: profile.localhost().map(str::to_owned),
        type_: profile.kind().to_owned(),
    })
}

fn seccomp(draft: &mut Draft<'_>, wanted: Option<Profile>) -> Option<SeccompProfile> {
    let operators = draft.security.seccomp_profile;
    let of_kind = |kind: ProfileKind| SeccompProfile { localhost_profile: None, type_: kind.as_str().to_owned() };
    match wanted {
        Some(Profile::Unconfined) if operators == Some(ProfileKind::RuntimeDefault) => {
            draft.left_out("securityContext.seccompProfile", "the operator gives every step a seccomp profile");
            operators.map(of_kind)
        }
        Some(profile) => Some(SeccompProfile {
            localhost_profile: profile.localhost().map(str::to_owned),
            type_: profile.kind().to_owned(),
        }),
        None => operators.map(of_kind),
    }
}

/// The container's part.
pub(super) fn of_container(draft: &mut Draft<'_>) -> Option<SecurityContext> {
    let options = draft.options.security.clone();
    if options.privileged == Some(true) && !draft.step.spec.privileged {
        draft.left_out("securityContext.privileged", "a step is privileged by 'privileged: true' only");
    }
    let is_privileged = is_privileged(draft.step, &draft.options);
    if is_privileged && !draft.settings.allow_from_step.privileged {
        let message =
            "this agent runs no privileged steps; its operator can allow them, with allow_from_step.privileged";
        draft.problem("privileged", "privileged", message);
    }
    if options.allow_privilege_escalation == Some(true) && draft.security.forbid_privilege_escalation {
        draft.left_out("securityContext.allowPrivilegeEscalation", "the operator forbids it");
    }
    let mut forbids = options.allow_privilege_escalation == Some(false) || draft.security.forbid_privilege_escalation;
    if is_privileged && forbids {
        // The API server refuses the two together.
        if options.allow_privilege_escalation == Some(false) {
            draft.left_out("securityContext.allowPrivilegeEscalation", "a privileged step has all privileges already");
        }
        forbids = false;
    }
    let mut drop = draft.security.drop_capabilities.clone();
    for capability in options.drop_capabilities {
        if !drop.contains(&capability) {
            drop.push(capability);
        }
    }
    let context = SecurityContext {
        privileged: is_privileged.then_some(true),
        allow_privilege_escalation: forbids.then_some(false),
        capabilities: (!drop.is_empty()).then_some(Capabilities { add: None, drop: Some(drop) }),
        ..SecurityContext::default()
    };
    (context != SecurityContext::default()).then_some(context)
}
