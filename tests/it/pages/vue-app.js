// The same page as react-app.js. Render functions, because a strict policy forbids compiling templates.
const { createApp, h, ref, watchEffect } = Vue;

createApp({
  setup() {
    const count = ref(0), phone = ref('270-315-2766'), path = ref(location.pathname);
    addEventListener('popstate', () => { path.value = location.pathname; });
    watchEffect(() => { document.title = 'Vue ' + path.value; });
    const go = to => { history.pushState({ to }, '', to); path.value = to; };
    return () => h('main', [
      h('p', { id: 'text' }, ['Call ', phone.value, ' now (', count.value, ')']),
      h('p', { id: 'joined' }, `Call ${phone.value} now (${count.value})`),
      h('a', { id: 'link', href: 'tel:' + phone.value, title: `${phone.value} (${count.value})` }, phone.value),
      count.value % 2 ? h('p', { id: 'odd' }, ['Odd: ', phone.value]) : null,
      h('ul', { id: 'list' }, [...Array(count.value % 4).keys()].map(n => h('li', { key: n }, phone.value))),
      h('p', { id: 'route' }, path.value === '/other' ? 'Other page, (270) 315-2766' : 'First page'),
      h('button', { id: 'more', onClick: () => { count.value++; } }, 'more'),
      h('button', { id: 'no-phone', onClick: () => { phone.value = 'nobody'; } }, 'no phone'),
      h('button', { id: 'phone', onClick: () => { phone.value = '(270) 315-2766'; } }, 'phone'),
      h('button', { id: 'other', onClick: () => go('/other') }, 'other'),
    ]);
  },
}).mount('#app');
