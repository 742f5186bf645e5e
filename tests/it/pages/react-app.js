// A router as small as can be, and a page that is drawn again in place.
const { createElement: h, useEffect, useState } = React;

function App() {
  const [count, setCount] = useState(0);
  const [phone, setPhone] = useState('270-315-2766');
  const [path, setPath] = useState(location.pathname);
  useEffect(() => {
    const follow = () => setPath(location.pathname);
    addEventListener('popstate', follow);
    return () => removeEventListener('popstate', follow);
  }, []);
  useEffect(() => { document.title = 'React ' + path; }, [path]);
  const go = to => { history.pushState({ to }, '', to); setPath(to); };
  return h('main', null,
    h('p', { id: 'text' }, 'Call ', phone, ' now (', count, ')'),
    h('p', { id: 'joined' }, `Call ${phone} now (${count})`),
    h('a', { id: 'link', href: 'tel:' + phone, title: `${phone} (${count})` }, phone),
    count % 2 ? h('p', { id: 'odd' }, 'Odd: ', phone) : null,
    h('ul', { id: 'list' }, [...Array(count % 4).keys()].map(n => h('li', { key: n }, phone))),
    h('p', { id: 'route' }, path === '/other' ? `Other page, (270) 315-2766` : 'First page'),
    h('button', { id: 'more', onClick: () => setCount(count + 1) }, 'more'),
    h('button', { id: 'no-phone', onClick: () => setPhone('nobody') }, 'no phone'),
    h('button', { id: 'phone', onClick: () => setPhone('(270) 315-2766') }, 'phone'),
    h('button', { id: 'other', onClick: () => go('/other') }, 'other'),
  );
}

ReactDOM.createRoot(document.getElementById('app')).render(h(App));
