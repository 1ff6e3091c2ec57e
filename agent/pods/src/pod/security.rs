//! Users, groups and privileges. A step can give privileges away, and never gains any by its options.

use k8s_openapi::api::core::v1::{AppArmorProfile, Capabilities, PodSecurityContext, SeccompProfile, SecurityContext};

use crate::options::Profile;
use crate::settings::ProfileKind;
use crate::step::Draft;

/// The pod's part.
pub(super) fn of_pod(draft: &mut Draft<'_>) -> Option<PodSecurityContext> {
    let (settings, options) = (&draft.settings.security, draft.options.security.clone());
    // In a user namespace of its own, root is nobody on the node.
    let may_be_root = draft.step.spec.privileged || draft.options.host_users == Some(false);
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
            draft.left_out(option, "the step must not run as root");
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
        app_armor_profile: options.apparmor_profile.map(|profile| AppArmorProfile {
            localhost_profile: profile.localhost().map(str::to_owned),
            type_: profile.kind().to_owned(),
        }),
        ..PodSecurityContext::default()
    };
    (context != PodSecurityContext::default()).then_some(context)
}

fn seccomp(draft: &mut Draft<'_>, wanted: Option<Profile>) -> Option<SeccompProfile> {
    let operators = draft.settings.security.seccomp_profile;
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
    let is_privileged = draft.step.spec.privileged && options.privileged != Some(false);
    if options.allow_privilege_escalation == Some(true) && draft.settings.security.forbid_privilege_escalation {
        draft.left_out("securityContext.allowPrivilegeEscalation", "the operator forbids it");
    }
    let mut forbids =
        options.allow_privilege_escalation == Some(false) || draft.settings.security.forbid_privilege_escalation;
    if is_privileged && forbids {
        // The API server refuses the two together.
        if options.allow_privilege_escalation == Some(false) {
            draft.left_out("securityContext.allowPrivilegeEscalation", "a privileged step has all privileges already");
        }
        forbids = false;
    }
    let mut drop = draft.settings.security.drop_capabilities.clone();
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
