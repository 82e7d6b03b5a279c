// The samples of a case in the order in which they are shown.

/** The sample that stands for the largest group; null where there is none. */
export const representative = (description) => description?.groups[0]?.representative ?? null;

/** Groups of samples that are alike, the most frequent first, and large ones before small ones: [{members, text}]. */
export function groupsOf({ groups, sizes }) {
  const bySize = (a, b) => sizes[b] - sizes[a];
  return groups
    .map(({ members, text }) => ({ members: members.toSorted(bySize), text }))
    .sort((a, b) => b.members.length - a.members.length || bySize(a.members[0], b.members[0]));
}
